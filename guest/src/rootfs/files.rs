//! The files a box gets from the agent: /etc/hosts, hostname, resolv.conf, the boot id and, where the image asks,
//! machine-id.
//!
//! Owns their text and writes them to the agent's tmpfs. They are bound over the image's (see `view`) instead of
//! written into the box's disk, so that an image or a copy of a box never carries another box's identity.

use std::fs;
use std::path::{Path, PathBuf};

use boxlite_proto::agent::ClaimRequest;

use crate::error::{AgentError, Context};
use crate::rootfs::layout;

/// What the host said of this box's identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) hostname: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) nameservers: Vec<String>,
    pub(crate) machine_id: Vec<u8>,
    pub(crate) boot_id: Vec<u8>,
}

impl Identity {
    /// That of the box that asks: with its host name, and its ids unless they are empty.
    pub(crate) fn of_another(&self, request: &ClaimRequest) -> Self {
        let either = |new: &[u8], old: &[u8]| if new.is_empty() { old.to_vec() } else { new.to_vec() };
        Self {
            hostname: request.hostname.clone(),
            machine_id: either(&request.machine_id, &self.machine_id),
            boot_id: either(&request.boot_id, &self.boot_id),
            ..self.clone()
        }
    }
}

/// Where Linux tells programs which boot of it this is.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// When a file is put over the image's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Always; the place is made where the image lacks it.
    Always,
    /// Only where the image has an empty file there, which by convention asks for one.
    WhereEmpty,
}

/// One file for the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoxFile {
    /// Where the agent has it.
    pub(crate) source: PathBuf,
    /// Where the box sees it, relative to its root.
    pub(crate) target: &'static str,
    pub(crate) condition: Condition,
}

/// Writes the files, anew where they are if there are some, which a box may have bound; says where each belongs.
pub(crate) fn write(identity: &Identity) -> Result<Vec<BoxFile>, AgentError> {
    let mut files = Vec::with_capacity(4);
    for (name, target, condition, text) in texts(identity) {
        let source = Path::new(layout::FILES).join(name);
        fs::write(&source, text).step(|| format!("write {}", source.display()))?;
        files.push(BoxFile { source, target, condition });
    }
    Ok(files)
}

/// Deletes the files: a box that had them bound could change what they say, whose they are and who may read them.
pub(crate) fn delete() -> Result<(), AgentError> {
    let step = || format!("empty {}", layout::FILES);
    for entry in fs::read_dir(layout::FILES).step(step)? {
        fs::remove_file(entry.step(step)?.path()).step(step)?;
    }
    Ok(())
}

type Text = (&'static str, &'static str, Condition, String);

fn texts(identity: &Identity) -> Vec<Text> {
    let Identity { hostname, hosts, nameservers, machine_id, boot_id } = identity;
    let mut texts = vec![("hosts", "etc/hosts", Condition::Always, hosts_text(hostname, hosts))];
    if !hostname.is_empty() {
        texts.push(("hostname", "etc/hostname", Condition::Always, format!("{hostname}\n")));
    }
    // An image's own would name servers of the machine that it was built on.
    let lines = nameservers.iter().map(|line| format!("{line}\n")).collect();
    texts.push(("resolv.conf", "etc/resolv.conf", Condition::Always, lines));
    if machine_id.len() == 16 {
        let text = format!("{}\n", digits(machine_id));
        texts.push(("machine-id", "etc/machine-id", Condition::WhereEmpty, text));
    }
    if boot_id.len() == 16 {
        let [a, b, c, d, e] =
            [&boot_id[..4], &boot_id[4..6], &boot_id[6..8], &boot_id[8..10], &boot_id[10..]].map(digits);
        texts.push(("boot-id", BOOT_ID, Condition::Always, format!("{a}-{b}-{c}-{d}-{e}\n")));
    }
    texts
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hosts_text(hostname: &str, extra: &[String]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    if !hostname.is_empty() {
        text.push_str(&format!("127.0.1.1\t{hostname}\n"));
    }
    for line in extra {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_host_said_is_written() {
        let identity = Identity {
            hostname: "web".into(),
            hosts: vec!["10.0.0.1 db".into()],
            nameservers: vec!["nameserver 192.168.127.1".into(), "search lan".into()],
            machine_id: (0..16).collect(),
            boot_id: (0..16).collect(),
        };
        let texts = texts(&identity);
        let text = |name| texts.iter().find(|text| text.0 == name).map(|text| text.3.as_str());
        assert!(text("hosts").unwrap().ends_with("127.0.1.1\tweb\n10.0.0.1 db\n"));
        assert_eq!(text("hostname"), Some("web\n"));
        assert_eq!(text("resolv.conf"), Some("nameserver 192.168.127.1\nsearch lan\n"));
        assert_eq!(text("machine-id"), Some("000102030405060708090a0b0c0d0e0f\n"));
        assert_eq!(text("boot-id"), Some("00010203-0405-0607-0809-0a0b0c0d0e0f\n"));
        let bare: Vec<_> = super::texts(&Identity::default()).into_iter().map(|text| text.0).collect();
        assert_eq!(bare, ["hosts", "resolv.conf"]);
    }
}
