//! Blobs: complete and verified under their name, resumable before, gone when wrong.

use super::*;

struct Place {
    dir: tempfile::TempDir,
    blobs: Blobs,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let (blobs, tmp) = (dir.path().join("blobs"), dir.path().join("tmp"));
    std::fs::create_dir(&blobs).expect("a directory");
    std::fs::create_dir(&tmp).expect("a directory");
    Place { blobs: Blobs::new(blobs, tmp), dir }
}

impl Place {
    fn left(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("tmp")).expect("tmp").count()
    }
}

fn described(content: &[u8]) -> Descriptor {
    Descriptor { digest: Digest::of(content), size: content.len() as u64 }
}

#[test]
fn a_blob_is_there_only_when_committed_and_goes_on_after_a_break() {
    let place = place();
    let blob = described(b"hello world");
    let mut partial = place.blobs.begin(blob).expect("a start");
    partial.write(b"hello ").expect("a write");
    drop(partial);
    assert!(!place.blobs.has(&blob));
    let mut partial = place.blobs.begin(blob).expect("a resume");
    assert_eq!(partial.len(), 6);
    partial.write(b"world").expect("a write");
    partial.commit().expect("a commit");
    assert!(place.blobs.has(&blob) && place.blobs.is_intact(&blob.digest));
    assert_eq!(place.blobs.document(&blob.digest).as_deref(), Some(&b"hello world"[..]));
    assert_eq!(place.left(), 0);
}

#[test]
fn wrong_content_is_named_and_deleted() {
    let place = place();
    for (content, reason) in [
        (&b"hello worle"[..], "wrong digest"),
        (b"hello", "has 5 bytes, its manifest says 11"),
        (b"hello world!", "longer than the 11 bytes"),
    ] {
        let blob = described(b"hello world");
        let mut partial = place.blobs.begin(blob).expect("a start");
        let error = partial.write(content).and_then(|()| partial.commit()).expect_err(reason);
        assert!(matches!(error, BoxliteError::Image(_)) && error.to_string().contains(reason), "{error}");
        assert_eq!(error.subject(), Some(blob.digest.to_string().as_str()));
        assert!(!place.blobs.has(&blob));
        assert_eq!(place.left(), 0);
    }
}

#[test]
fn a_damaged_document_does_not_count() {
    let place = place();
    let blob = place.blobs.store_document(b"{}").expect("stored");
    assert_eq!(place.blobs.document(&blob.digest).as_deref(), Some(&b"{}"[..]));
    std::fs::write(place.blobs.path(&blob.digest), b"[]").expect("damage");
    assert_eq!(place.blobs.document(&blob.digest), None);
    place.blobs.store_document(b"{}").expect("stored again");
    assert!(place.blobs.is_intact(&blob.digest));
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = place();
    // /dev/full answers every write as a full disk does.
    let path = place.dir.path().join("tmp/part");
    std::fs::write(&path, b"").expect("a file");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let blob = described(b"hello");
    let target = place.blobs.path(&blob.digest);
    let mut partial = PartialBlob { file: full, path, target, hasher: Sha256::new(), written: 0, blob };
    let error = partial.write(b"hello").expect_err("a full disk");
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error}");
    assert_eq!(place.left(), 0);
}
