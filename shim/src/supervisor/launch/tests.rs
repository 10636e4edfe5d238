use super::*;
use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, sendmsg, socketpair};
use serde_json::{Value, json};
use std::io::IoSlice;

fn spec() -> Value {
    json!({
        "protocol": PROTOCOL_VERSION, "build_id": BUILD_ID, "box_id": "aB3", "box_dir": "/h/boxes/aB3",
        "engine": "qemu_tcg", "engine_program": "/q", "kernel": "/k", "guest_disk": "/g", "image_disk": "/i",
        "box_disk": "box.qcow2", "cpus": 1, "memory_mib": 512, "hostname": "h", "detach": false, "tsc_khz": 0,
        "boot_deadline_ms": 1, "stop_grace_ms": 1, "pids_max": 0, "test_hooks": false,
    })
}

fn checked(change: impl FnOnce(&mut Value)) -> Result<ShimSpec, StartError> {
    let mut spec = spec();
    change(&mut spec);
    check(spec.to_string().as_bytes(), "aB3")
}

#[test]
fn a_good_spec_is_taken_with_fields_of_later_days() {
    assert_eq!(checked(|_| {}).unwrap().box_id, "aB3");
    assert!(checked(|spec| spec["a_new_field"] = json!(1)).is_ok());
}

#[test]
fn another_build_is_named_even_when_its_message_differs() {
    let error = check(br#"{"protocol": 9, "build_id": "0.0.9-x"}"#, "aB3").unwrap_err();
    assert!(matches!(&error, StartError::BuildMismatch { their_protocol: 9, .. }), "{error}");
    assert!(error.to_string().contains("0.0.9-x") && error.to_string().contains(BUILD_ID), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert!(matches!(check(b"{", "aB3"), Err(StartError::BadSpec(_))));
    assert!(matches!(checked(|spec| spec["cpus"] = json!(-1)), Err(StartError::BadSpec(_))));
    assert!(matches!(checked(|spec| spec["box_id"] = json!("other")), Err(StartError::WrongBox { .. })));
    for disk in ["../x", "/x", "a/b", "", ".", ".."] {
        let refused = checked(|spec| spec["box_disk"] = json!(disk));
        assert!(matches!(refused, Err(StartError::BadSpec(_))), "{disk:?}");
    }
    assert!(matches!(checked(|spec| spec["box_dir"] = json!("boxes/aB3")), Err(StartError::BadSpec(_))));
}

#[test]
fn a_packet_brings_its_descriptors_and_an_end_is_an_error() {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let passed = fs::File::open("/dev/null").unwrap();
    let fds = [passed.as_raw_fd(), theirs.as_raw_fd()];
    let parts = [IoSlice::new(b"{}")];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
    let (json, got) = receive_packet(&ours).unwrap();
    assert_eq!(json, b"{}");
    assert_eq!(got.len(), 2);
    for fd in got {
        let flags = fcntl(fd, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
    drop(theirs);
    assert_eq!(receive_packet(&ours).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
