//! A real image by the real way: Debian with python3, pushed to a registry, pulled from there, run in a machine.

use boxlite::{BoxCommand, BoxOptions, ImageRegistry, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image};
use boxlite_test_utils::registry::Registry;

#[path = "support/vm.rs"]
mod vm;
#[path = "support/waiting.rs"]
mod waiting;

use waiting::{PATIENCE, within};

#[tokio::test]
async fn python_of_a_pulled_debian_image_answers() {
    let registry = Registry::start().expect("a registry");
    registry.push(&format!("{}:latest", debian_image()), "debian:12", &[]).expect("the push");
    // A home that shares no images: everything has to come from the registry.
    let home = PerTestBoxHome::isolated();
    let runtime = vm::open(&home, vec![ImageRegistry::http(registry.host())]);
    let options =
        BoxOptions { rootfs: RootfsSpec::Image(registry.image("debian:12")), ..BoxOptions::default() };
    let sandbox = runtime.create(options, None).await.expect("a box");
    assert_eq!(blobs_served(&registry), 0);

    let script = r#"import json,ssl,sqlite3; print(json.dumps({"ok":1}))"#;
    let (code, stdout, stderr) = vm::run(&sandbox, BoxCommand::new("python3").args(["-c", script])).await;
    assert_eq!((code, String::from_utf8_lossy(&stderr).as_ref()), (0, ""));
    assert_eq!(stdout, b"{\"ok\": 1}\n");
    // Two layers and a config: the image is what was pushed, and nothing was fetched twice. Logged a moment after it came.
    within(PATIENCE, "three blobs are served", || blobs_served(&registry) >= 3).await;
    assert_eq!(blobs_served(&registry), 3, "{:#?}", registry.requests());

    // libssl and SQLite do their work there, on the box's own disk.
    let script = "import hashlib,sqlite3,ssl; c=sqlite3.connect('/root/db'); c.execute('create table t(x)');\
                  c.executemany('insert into t values (?)', [(n,) for n in range(1000)]); c.commit();\
                  print(c.execute('select sum(x) from t').fetchone()[0], hashlib.sha256(b'').hexdigest()[:8],\
                  len(ssl.create_default_context().get_ciphers()) > 5)";
    let (code, stdout, stderr) = vm::run(&sandbox, BoxCommand::new("python3").args(["-c", script])).await;
    assert_eq!((code, String::from_utf8_lossy(&stderr).as_ref()), (0, ""));
    assert_eq!(stdout, b"499500 e3b0c442 True\n");

    // The image's own settings are in force.
    let (code, stdout, _) = vm::run(&sandbox, BoxCommand::new("sh").args(["-c", "pwd; echo $LANG"])).await;
    assert_eq!((code, stdout.as_slice()), (0, b"/root\nC.UTF-8\n".as_slice()));
    runtime.shutdown(Some(0)).await.expect("the end");
}

fn blobs_served(registry: &Registry) -> usize {
    let served = registry.requests();
    served.iter().filter(|line| line.starts_with("GET ") && line.contains("/blobs/")).count()
}
