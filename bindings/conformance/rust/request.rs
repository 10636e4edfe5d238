//! The fields of a request, and the command that it asks for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use boxlite::BoxCommand;
use boxlite::litebox::ExecLimits;

/// `op\tkey=hex\t…`
pub(crate) struct Request {
    pub(crate) op: String,
    fields: Vec<(String, Vec<u8>)>,
}

impl Request {
    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.split('\t');
        let op = words.next().unwrap_or_default().to_owned();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
        let fields = words
            .map(|word| {
                let (key, hex) = word.split_once('=').expect("key=hex");
                (key.to_owned(), hex.as_bytes().chunks(2).map(byte).collect())
            })
            .collect();
        Self { op, fields }
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.bytes(key).is_some()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        std::str::from_utf8(self.bytes(key).unwrap_or_default()).expect("UTF-8")
    }

    pub(crate) fn os(&self, key: &str) -> OsString {
        OsString::from_vec(self.bytes(key).unwrap_or_default().to_vec())
    }

    pub(crate) fn number(&self, key: &str, otherwise: u64) -> u64 {
        if self.has(key) { self.text(key).parse().expect("a number") } else { otherwise }
    }

    pub(crate) fn pair(&self, key: &str) -> (u16, u16) {
        let (one, other) = self.text(key).split_once(',').expect("two numbers");
        (one.parse().expect("a number"), other.parse().expect("a number"))
    }

    /// What the command reads.
    pub(crate) fn input(&self) -> Vec<u8> {
        if self.has("input") { std::fs::read(self.os("input")).expect("the input") } else { Vec::new() }
    }

    pub(crate) fn command(&self) -> BoxCommand {
        let mut args = self
            .fields
            .iter()
            .filter(|(key, _)| key == "arg")
            .map(|(_, arg)| OsString::from_vec(arg.clone()));
        let mut command = BoxCommand::new(args.next().expect("a program")).args(args);
        for (key, value) in &self.fields {
            let text = || std::str::from_utf8(value).expect("UTF-8");
            command = match key.as_str() {
                "env" => {
                    let equals = value.iter().position(|byte| *byte == b'=').expect("name=value");
                    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
                    command.env(os(&value[..equals]), os(&value[equals + 1..]))
                }
                "cwd" => command.working_dir(OsString::from_vec(value.clone())),
                "user" => command.user(text()),
                "timeout_ms" => command.timeout(Duration::from_millis(text().parse().expect("a number"))),
                "merge" => command.merge_stderr(true),
                "memory" => {
                    let memory_bytes = Some(text().parse().expect("a number"));
                    command.limits(ExecLimits { memory_bytes, ..ExecLimits::default() })
                }
                "tty" => {
                    let (rows, cols) = self.pair("tty");
                    command.tty(true).tty_size(rows, cols)
                }
                _ => command,
            };
        }
        command
    }
}
