//! Templates that can't be used. Boxes start all the same.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use boxlite::{BoxCommand, BoxStatus};

use crate::waiting::{PATIENCE, within};
use crate::{home, is_clone, open, open_with, options, output, started, templates};

/// Makes a template pass for one whose files were read through as they are now.
fn vouch_for(template: &Path) {
    let stamp = |name: &str| {
        let metadata = fs::metadata(template.join(name)).unwrap();
        let (changed, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
        format!("{name} {} {} {changed}.{nanoseconds:09}\n", metadata.ino(), metadata.size())
    };
    fs::write(template.join("checked"), format!("{}{}", stamp("ram"), stamp("state"))).unwrap();
}

fn overwrite(path: &Path, content: &[u8], at: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(content, at).unwrap();
}

#[tokio::test]
async fn a_damaged_template_is_set_aside_and_the_box_boots() {
    let home = home();
    let runtime = open(&home);
    let mut refused = 0;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("a truncated memory", |template| {
            File::options().write(true).open(template.join("ram")).unwrap().set_len(4096).unwrap();
        }),
        ("a flipped bit", |template| {
            let state = template.join("state");
            let last = fs::metadata(&state).unwrap().len() - 1;
            let mut byte = [0];
            File::open(&state).unwrap().read_exact_at(&mut byte, last).unwrap();
            overwrite(&state, &[byte[0] ^ 1], last);
        }),
        ("a missing state", |template| fs::remove_file(template.join("state")).unwrap()),
        // What is wrong with this one only QEMU finds out.
        ("a state of another program", |template| {
            overwrite(&template.join("state"), b"no state of QEMU's", 0);
            vouch_for(template);
        }),
    ];
    for (what, damage) in damages {
        runtime.prepare(&options()).await.unwrap();
        let (whole, _) = templates(&home);
        damage(&whole[0]);
        let sandbox = started(&runtime).await;
        refused += 1;
        assert!(!is_clone(&sandbox), "{what}");
        assert_eq!(output(&sandbox, "echo fine").await, "fine\n", "{what}");
        assert_eq!(runtime.start_counts().templates_refused, refused, "{what}");
        // Two seconds after the boot another is made in the background.
        let (_, rest) = templates(&home);
        assert!(!rest.iter().any(|name| name.starts_with(".bad")), "{what} is deleted: {rest:?}");
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    }
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_box_whose_template_is_cut_off_under_it_fails_and_says_why() {
    let home = home();
    let runtime = open(&home);
    runtime.prepare(&options()).await.unwrap();
    let (whole, _) = templates(&home);
    let sandbox = started(&runtime).await;
    let script = "read go; cat /bin/* | wc -c; sleep 60";
    let mut waiting = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.unwrap();
    let mut stdin = waiting.stdin().unwrap();
    File::options().write(true).open(whole[0].join("ram")).unwrap().set_len(0).unwrap();
    // Whatever the box does next needs a page that is gone. It may do so by itself.
    let _ = stdin.write_all(b"go\n").await;
    assert!(waiting.wait().await.is_err());
    within(PATIENCE, "the box ends", || sandbox.info().status == BoxStatus::Failed).await;
    let reason = sandbox.info().failure.unwrap_or_default();
    assert!(reason.contains("signal 7") && reason.contains("template"), "{reason}");
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn without_room_boxes_boot() {
    let home = home();
    let runtime = open_with(&home, 1 << 20);
    let error = runtime.prepare(&options()).await.unwrap_err();
    assert!(matches!(&error, boxlite::BoxliteError::ResourceExhausted(_)), "{error:?}");
    assert!(error.hint().contains("template_space"), "{}", error.hint());
    assert_eq!(templates(&home), (vec![], vec![]));
    let none = open_with(&home, 0);
    none.prepare(&options()).await.unwrap();
    let sandbox = started(&none).await;
    assert!(!is_clone(&sandbox));
    assert_eq!(templates(&home), (vec![], vec![]));
    none.shutdown(None).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}
