//! What a template is kept under: a hash of everything that shapes the frozen machine.

use std::fmt;
use std::path::{Path, PathBuf};

use boxlite_proto::{BUILD_ID, PROTOCOL_VERSION};

use super::host_cpu;
use crate::model::digest::Digest;

/// Digits of a key: enough to tell machines apart for ever.
const DIGITS: usize = 32;

/// Everything that shapes a frozen machine, but for what this build and this host always give it. The box's disk and
/// its size don't: the guest hears of them only after.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) engine: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) guest_disk: PathBuf,
    pub(crate) cpus: u8,
    pub(crate) memory_mib: u32,
    /// Rate of the time stamp counter, rounded to MHz; 0 = not known.
    pub(crate) tsc_khz: u32,
    /// The box that is set up in it, if any.
    pub(crate) set_up: Option<SetUp>,
}

/// A box that nobody has asked for, as far as it shapes the machine that it is set up in. Paths are relative to the home.
#[derive(Clone, Debug)]
pub(crate) struct SetUp {
    /// Its image's digest.
    pub(crate) image: String,
    pub(crate) image_disk: PathBuf,
    /// The empty file system that its disk is an overlay of.
    pub(crate) empty_disk: PathBuf,
    pub(crate) disk_gb: u64,
}

impl Shape {
    /// What the makers of such machines take turns by.
    pub(crate) fn lock(&self) -> String {
        let mut name = format!("make-{}-{}", self.cpus, self.memory_mib);
        if let Some(set_up) = &self.set_up {
            let image = Digest::of(set_up.image.as_bytes()).hex();
            name.push_str(&format!("-{}-{}", &image[..16], set_up.disk_gb));
        }
        name
    }

    /// The files whose content counts.
    pub(super) fn files(&self) -> [&Path; 3] {
        [&self.engine, &self.kernel, &self.guest_disk]
    }
}

impl SetUp {
    pub(super) fn disks(&self) -> [&Path; 2] {
        [&self.image_disk, &self.empty_disk]
    }
}

/// Names a template. Different machines have different keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TemplateKey(String);

impl TemplateKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of machines of this shape; `None` when the digest of a file, or the clock's rate, is not known. The build
/// stands for the machine's flags and its CPU model (`boxlite_proto::machine`).
pub(super) fn of(
    shape: &Shape,
    digest: impl Fn(&Path) -> Option<Digest>,
    stamp: impl Fn(&Path) -> Option<String>,
) -> Option<TemplateKey> {
    if shape.tsc_khz == 0 {
        return None;
    }
    let [engine, kernel, guest_disk] = shape.files().map(|file| digest(file).map(|digest| digest.hex()));
    let mut text = format!(
        "build {BUILD_ID} protocol {PROTOCOL_VERSION} engine {} kernel {} guest {} cpus {} memory {} tsc {} cpu {}",
        engine?,
        kernel?,
        guest_disk?,
        shape.cpus,
        shape.memory_mib,
        shape.tsc_khz / 1000,
        host_cpu::identity()?,
    );
    if let Some(set_up) = &shape.set_up {
        // The guest has read from both: a file that was made again may have the same content in other places.
        let [image_disk, empty_disk] = set_up.disks().map(&stamp);
        text.push_str(&format!(" image {} {} disk {}", set_up.image, image_disk?, empty_disk?));
    }
    let mut digits = Digest::of(text.as_bytes()).hex();
    digits.truncate(DIGITS);
    Some(TemplateKey(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            engine: "/qemu".into(),
            kernel: "/kernel".into(),
            guest_disk: "/guest".into(),
            cpus: 1,
            memory_mib: 512,
            tsc_khz: 2_500_000,
            set_up: None,
        }
    }

    fn set_up() -> SetUp {
        SetUp {
            image: "sha256:0".into(),
            image_disk: "images/0".into(),
            empty_disk: "bases/10".into(),
            disk_gb: 10,
        }
    }

    fn key(shape: &Shape) -> TemplateKey {
        let digest = |path: &Path| Some(Digest::of(path.as_os_str().as_encoded_bytes()));
        of(shape, digest, |path| Some(path.display().to_string())).unwrap()
    }

    #[test]
    fn whatever_shapes_the_machine_makes_another_key() {
        let base = key(&shape());
        assert_eq!(key(&shape()), base);
        assert_eq!(key(&Shape { tsc_khz: 2_500_400, ..shape() }), base, "the reading varies by some kHz");
        let changes: [fn(&mut Shape); 7] = [
            |shape| shape.set_up = Some(set_up()),
            |shape| shape.engine = "/other".into(),
            |shape| shape.kernel = "/other".into(),
            |shape| shape.guest_disk = "/other".into(),
            |shape| shape.cpus = 2,
            |shape| shape.memory_mib = 513,
            |shape| shape.tsc_khz = 2_600_000,
        ];
        for change in changes {
            let mut other = shape();
            change(&mut other);
            assert_ne!(key(&other), base, "{other:?}");
        }
        assert_eq!(TemplateKey::parse(base.as_str()), Some(base));
    }

    #[test]
    fn whatever_a_box_that_is_set_up_has_read_makes_another_key() {
        let with = |set_up| Shape { set_up: Some(set_up), ..shape() };
        let base = with(set_up());
        let changes: [fn(&mut SetUp); 3] = [
            |set_up| set_up.image = "sha256:1".into(),
            |set_up| set_up.image_disk = "images/1".into(),
            |set_up| set_up.empty_disk = "bases/11".into(),
        ];
        for change in changes {
            let mut other = set_up();
            change(&mut other);
            assert_ne!(key(&with(other)), key(&base));
        }
        assert_ne!(with(SetUp { disk_gb: 11, ..set_up() }).lock(), base.lock());
        assert_ne!(shape().lock(), base.lock());
    }

    #[test]
    fn what_is_not_known_has_no_key() {
        let (known, stamped) = (|_: &Path| Some(Digest::of(b"")), |_: &Path| Some(String::new()));
        assert_eq!(of(&shape(), |_| None, stamped), None);
        assert_eq!(of(&Shape { tsc_khz: 0, ..shape() }, known, stamped), None);
        assert_eq!(of(&Shape { set_up: Some(set_up()), ..shape() }, known, |_| None), None);
        assert_eq!(TemplateKey::parse("locks"), None);
    }
}
