//! How much a command line and an environment may hold, and that every byte of them arrives.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use boxlite::BoxliteError;

use super::{Bench, shell, vm};

/// All bytes but NUL, in an order that depends on `seed`.
fn bytes(seed: usize, length: usize) -> OsString {
    OsString::from_vec((0..length).map(|at| ((seed * 7919 + at * 31) % 255 + 1) as u8).collect())
}

#[tokio::test]
async fn a_thousand_variables_and_a_megabyte_of_arguments_arrive_intact() {
    let bench = Bench::new().await;
    let arguments: Vec<OsString> = (0..1024).map(|seed| bytes(seed, 1024)).collect();
    let variables: Vec<(String, OsString)> =
        (0..1000).map(|number| (format!("VARIABLE_{number}"), bytes(number, 100))).collect();
    // What the kernel gave the process, read from outside its own code.
    let script = "cat /proc/$$/cmdline; cat /proc/$$/environ >&2";
    let mut command = shell(script).arg("name").args(&arguments);
    for (name, value) in &variables {
        command = command.env(name, value);
    }
    let (code, cmdline, environ) = vm::run(&bench.sandbox, command).await;
    assert_eq!(code, 0);

    let fixed = ["sh", "-c", script, "name"].map(OsString::from);
    let want: Vec<u8> =
        fixed.iter().chain(&arguments).flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
    assert!(cmdline == want, "{} bytes of arguments arrived, not the {} sent", cmdline.len(), want.len());

    let mut found: Vec<&[u8]> =
        environ.split(|byte| *byte == 0).filter(|text| text.starts_with(b"VARIABLE_")).collect();
    let mut want: Vec<Vec<u8>> =
        variables.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    found.sort_unstable();
    want.sort_unstable();
    assert_eq!(found.len(), 1000);
    assert!(found == want, "values have changed on their way");
    bench.end().await;
}

#[tokio::test]
async fn what_is_too_long_or_impossible_is_told_and_harms_nothing() {
    let bench = Bench::new().await;
    // One string longer than the kernel takes, then more in all than it takes, then more than a message holds.
    for (count, length) in [(1, 140_000), (30, 100_000), (60, 100_000)] {
        let command = shell("true").args((0..count).map(|seed| bytes(seed, length)));
        let error = bench.sandbox.exec(command).await.expect_err("too long");
        let text = error.to_string();
        assert!(matches!(error, BoxliteError::Execution(_)), "{count} times {length}: {error:?}");
        assert!(text.contains("too long"), "{count} times {length}: {text}");
        assert_eq!(error.exit_code(), Some(126));
        assert!(error.hint().contains("stdin"), "{}", error.hint());
    }
    let nul = OsString::from_vec(b"a\0b".to_vec());
    for command in [shell("true").arg(&nul), shell("true").env("NAME", &nul), shell("true").env("A=B", "c")] {
        let error = bench.sandbox.exec(command).await.expect_err("impossible");
        assert!(matches!(error, BoxliteError::InvalidArgument(_) | BoxliteError::Execution(_)), "{error:?}");
    }
    assert_eq!(bench.say(shell("echo well")).await, (0, "well\n".into()));
    bench.end().await;
}
