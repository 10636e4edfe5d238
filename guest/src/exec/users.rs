//! Who a process runs as: the box's own /etc/passwd and /etc/group, read as text.
//!
//! Owns parsing and the rules of `name | uid | uid:gid | name:group`. Opens no file; never asks the C library, which
//! would look at the agent's files.

use nix::libc::{gid_t, uid_t};

/// A user of the box, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: uid_t,
    pub(crate) gid: gid_t,
    /// Supplementary groups.
    pub(crate) groups: Vec<gid_t>,
    /// From the passwd entry, where there is one.
    pub(crate) name: Option<Vec<u8>>,
    /// From the passwd entry; `/` without one.
    pub(crate) home: Vec<u8>,
}

/// A user specification that means nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("user '{name}' is not in the box's /etc/passwd: add it, or give a numeric uid")]
    UnknownUser { name: String },
    #[error("group '{name}' is not in the box's /etc/group: add it, or give a numeric gid")]
    UnknownGroup { name: String },
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: uid_t,
    gid: gid_t,
    home: &'a [u8],
}

/// The largest number the kernel takes for "leave it", which is no id.
const NO_ID: u32 = u32::MAX;

fn id(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|id| *id != NO_ID)
}

/// Entries in order; lines that are none (comments, NIS markers, garbage) are passed over.
fn passwd(text: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: gid_t,
    members: &'a [u8],
}

fn groups(text: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// Resolves `spec` (empty: root) against the text of the two files. A name wins over a number that reads the same.
/// Supplementary groups are those that list the user; a group named by the caller replaces them all.
pub(crate) fn resolve(spec: &str, passwd_text: &[u8], group_text: &[u8]) -> Result<User, UserError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = id(user.as_bytes());
    let entry = passwd(passwd_text)
        .find(|entry| entry.name == user.as_bytes())
        .or_else(|| passwd(passwd_text).find(|entry| Some(entry.uid) == number));
    let (uid, gid, name, home) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, Some(entry.name.to_vec()), entry.home.to_vec()),
        (None, Some(uid)) => (uid, 0, (uid == 0).then(|| b"root".to_vec()), Vec::new()),
        (None, None) => return Err(UserError::UnknownUser { name: user.to_owned() }),
    };
    let home = if home.is_empty() { b"/".to_vec() } else { home };
    let (gid, groups) = match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            let gid = resolve_group(group, group_text)?;
            (gid, vec![gid])
        }
        None => (gid, memberships(name.as_deref(), gid, group_text)),
    };
    Ok(User { uid, gid, groups, name, home })
}

fn resolve_group(group: &str, text: &[u8]) -> Result<gid_t, UserError> {
    groups(text)
        .find(|entry| entry.name == group.as_bytes())
        .map(|entry| entry.gid)
        .or_else(|| id(group.as_bytes()))
        .ok_or_else(|| UserError::UnknownGroup { name: group.to_owned() })
}

/// The groups that list the user, and the primary one: a file may be closed to a group, and a process that could
/// shed its primary group by changing it would get around that.
fn memberships(user: Option<&[u8]>, primary: gid_t, text: &[u8]) -> Vec<gid_t> {
    let mut found: Vec<gid_t> = groups(text)
        .filter(|entry| entry.members.split(|byte| *byte == b',').any(|member| Some(member) == user))
        .map(|entry| entry.gid)
        .chain([primary])
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# note\n+::::::\nbroken:x:abc:1::/:\napp:x:1000:1000:App:/home/app:/bin/sh\n1234:x:77:77::/srv:\nnohome:x:5:6";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,app\nvideo:x:44:app,other\napp:x:1000:app\nvideo2:x:44:app\n";

    fn user(spec: &str) -> Result<User, UserError> {
        resolve(spec, PASSWD, GROUP)
    }

    #[test]
    fn a_name_brings_its_entry_and_groups() {
        let app = User {
            uid: 1000,
            gid: 1000,
            groups: vec![10, 44, 1000],
            name: Some(b"app".to_vec()),
            home: b"/home/app".to_vec(),
        };
        assert_eq!(user("app"), Ok(app.clone()));
        assert_eq!(user("1000"), Ok(app));
        assert_eq!(user("").unwrap(), user("root").unwrap());
        assert_eq!(user("root").unwrap().groups, [0, 10]);
    }

    #[test]
    fn numbers_need_no_entry() {
        let nobody = User { uid: 4242, gid: 0, groups: vec![0], name: None, home: b"/".to_vec() };
        assert_eq!(user("4242"), Ok(nobody.clone()));
        assert_eq!(user("4242:4243"), Ok(User { gid: 4243, groups: vec![4243], ..nobody }));
        assert_eq!(resolve("", b"", b"").unwrap().name, Some(b"root".to_vec()));
    }

    #[test]
    fn a_named_group_replaces_the_others() {
        assert_eq!(user("app:video").unwrap().gid, 44);
        assert_eq!(user("app:video").unwrap().groups, [44]);
        assert_eq!(user(":wheel").unwrap().gid, 10);
    }

    #[test]
    fn a_name_that_looks_like_a_number_is_a_name_first() {
        assert_eq!(user("1234").unwrap().uid, 77);
        assert_eq!(user("nohome").unwrap().home, b"/");
    }

    #[test]
    fn unknown_names_are_told() {
        assert_eq!(user("ghost"), Err(UserError::UnknownUser { name: "ghost".into() }));
        assert_eq!(user("broken"), Err(UserError::UnknownUser { name: "broken".into() }));
        assert_eq!(user("app:ghosts"), Err(UserError::UnknownGroup { name: "ghosts".into() }));
        assert!(user("4294967295").is_err());
        assert!(user("-1").is_err());
    }
}
