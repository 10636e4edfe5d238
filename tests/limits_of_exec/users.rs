//! Who a command runs as, and where. The image's passwd has `app` (1000, /home), who is also in `extra` (1001).

use boxlite::{BoxCommand, BoxOptions, BoxliteError};

use super::{Bench, shell};

#[tokio::test]
async fn users_groups_homes_and_directories_are_the_boxs_own() {
    let options = BoxOptions {
        user: Some("app".into()),
        working_dir: Some("/tmp".into()),
        env: vec![("FROM".into(), "box".into()), ("HELD".into(), "yes".into())],
        ..BoxOptions::default()
    };
    let bench = Bench::with(options).await;
    let who = || shell("id -u; id -g; id -G; echo $HOME; echo ${USER:-none}");
    for (user, want) in [
        ("root", "0\n0\n0\n/root\nroot\n"),
        ("0", "0\n0\n0\n/root\nroot\n"),
        ("app", "1000\n1000\n1000 1001\n/home\napp\n"),
        ("1000", "1000\n1000\n1000 1001\n/home\napp\n"),
        ("1000:1001", "1000\n1001\n1001\n/home\napp\n"),
        ("app:extra", "1000\n1001\n1001\n/home\napp\n"),
        ("app:77", "1000\n77\n77\n/home\napp\n"),
        ("4242", "4242\n0\n0\n/\nnone\n"),
        ("4242:4343", "4242\n4343\n4343\n/\nnone\n"),
    ] {
        assert_eq!(bench.say(who().user(user)).await, (0, want.into()), "user {user}");
    }

    // The box's defaults, and what a command puts over them.
    let where_and_what = || shell("id -un; pwd; echo $FROM $HELD");
    assert_eq!(bench.say(where_and_what()).await, (0, "app\n/tmp\nbox yes\n".into()));
    let own = where_and_what().user("root").working_dir("/etc").env("FROM", "command");
    assert_eq!(bench.say(own).await, (0, "root\n/etc\ncommand yes\n".into()));
    let home = shell("echo $HOME").env("HOME", "/elsewhere");
    assert_eq!(bench.say(home).await, (0, "/elsewhere\n".into()));

    // Unknown names and places: told by name, and nothing has run.
    let ran = || shell("touch /tmp/ran");
    for (command, named) in [
        (ran().user("ghost"), "ghost"),
        (ran().user("app:ghosts"), "ghosts"),
        (ran().user("4294967295"), "4294967295"),
        (ran().working_dir("/no/such/place"), "/no/such/place"),
        (ran().working_dir("/etc/passwd"), "/etc/passwd"),
        (ran().user("app").working_dir("/root"), "/root"),
    ] {
        let error = bench.sandbox.exec(command).await.expect_err(named);
        let text = error.to_string();
        assert!(matches!(error, BoxliteError::Execution(_) | BoxliteError::InvalidArgument(_)), "{error:?}");
        assert!(text.contains(named), "{named} is not in: {text}");
        assert!(!error.hint().is_empty(), "no remedy for: {text}");
    }
    assert_eq!(bench.say(shell("ls /tmp")).await, (0, String::new()));

    // The rights are real.
    let (code, _, stderr) = super::vm::run(&bench.sandbox, BoxCommand::new("ls").arg("/root")).await;
    assert_ne!(code, 0);
    assert!(String::from_utf8_lossy(&stderr).contains("Permission denied"));
    bench.end().await;
}
