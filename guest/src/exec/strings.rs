//! Argument and environment lists as execve wants them, and the places a command may be.
//!
//! Owns building them before the fork: afterwards nothing may be allocated. Any byte but NUL passes unchanged.

use std::ffi::CStr;
use std::os::raw::c_char;
use std::ptr;

/// PATH where the environment has none.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A NULL-terminated list of C strings in one piece of memory.
#[derive(Debug)]
pub(crate) struct CList {
    bytes: Vec<u8>,
    pointers: Vec<*const c_char>,
}

/// A string that holds a NUL byte, which no C string can; the index tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HasNul(pub(crate) usize);

impl CList {
    /// Copies the strings.
    pub(crate) fn new<T: AsRef<[u8]>>(strings: &[T]) -> Result<Self, HasNul> {
        let length = strings.iter().map(|string| string.as_ref().len() + 1).sum();
        let mut bytes = Vec::with_capacity(length);
        let mut starts = Vec::with_capacity(strings.len());
        for (index, string) in strings.iter().enumerate() {
            if string.as_ref().contains(&0) {
                return Err(HasNul(index));
            }
            starts.push(bytes.len());
            bytes.extend_from_slice(string.as_ref());
            bytes.push(0);
        }
        let pointers = starts
            .into_iter()
            .map(|start| bytes[start..].as_ptr().cast::<c_char>())
            .chain([ptr::null()])
            .collect();
        Ok(Self { bytes, pointers })
    }

    /// The list as execve takes it.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// The strings.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.bytes
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|string| CStr::from_bytes_with_nul(string).ok())
    }
}

/// The value of `name` in a list of `NAME=value`; the last one wins.
pub(crate) fn lookup<'a>(env: &'a [Vec<u8>], name: &[u8]) -> Option<&'a [u8]> {
    env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

/// Every place where `command` is looked for, in order, as execvp does: a name with a slash is a path.
pub(crate) fn candidates(command: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if command.contains(&b'/') {
        return vec![command.to_vec()];
    }
    let path = lookup(env, b"PATH").unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .map(|directory| match directory {
            // By tradition an empty entry is the working directory.
            b"" => [b"./".as_slice(), command].concat(),
            directory => [directory, b"/", command].concat(),
        })
        .collect()
}

/// The environment with HOME and USER where the caller said nothing of them.
pub(crate) fn with_user(mut env: Vec<Vec<u8>>, home: &[u8], name: Option<&[u8]>) -> Vec<Vec<u8>> {
    for (key, value) in [(b"HOME".as_slice(), Some(home)), (b"USER", name)] {
        if let Some(value) = value.filter(|_| lookup(&env, key).is_none()) {
            env.push([key, b"=", value].concat());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|string| string.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lists_keep_every_byte_and_end_with_null() {
        let list = CList::new(&[b"a\xff".as_slice(), b"", b"ccc"]).unwrap();
        assert_eq!(list.iter().map(CStr::to_bytes).collect::<Vec<_>>(), [b"a\xff".as_slice(), b"", b"ccc"]);
        assert_eq!(list.pointers.len(), 4);
        assert!(list.pointers[3].is_null());
        // SAFETY: the third pointer leads to a NUL-terminated string inside the list.
        assert_eq!(unsafe { CStr::from_ptr(list.pointers[2]) }, c"ccc");
        assert_eq!(CList::new(&[b"ok".as_slice(), b"n\0l"]).unwrap_err(), HasNul(1));
    }

    #[test]
    fn bare_names_go_through_path_and_paths_do_not() {
        let env = strings(&["PATH=/nope", "PATH=/a::/b/"]);
        assert_eq!(candidates(b"ls", &env), strings(&["/a/ls", "./ls", "/b//ls"]));
        assert_eq!(candidates(b"./ls", &env), strings(&["./ls"]));
        assert_eq!(candidates(b"ls", &strings(&["PATHS=/x"])).len(), 6);
    }

    #[test]
    fn home_and_user_are_added_but_never_replaced() {
        let env = with_user(strings(&["HOME=/mine", "A=b"]), b"/root", Some(b"root"));
        assert_eq!(env, strings(&["HOME=/mine", "A=b", "USER=root"]));
        assert_eq!(with_user(vec![], b"/", None), strings(&["HOME=/"]));
        assert_eq!(with_user(strings(&["HOME="]), b"/", None), strings(&["HOME="]));
    }
}
