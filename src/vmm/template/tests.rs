use super::*;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;

struct Home {
    _dir: tempfile::TempDir,
    layout: Layout,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::prepare(dir.path()).unwrap();
    for name in ["qemu", "kernel", "guest"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    Home { _dir: dir, layout }
}

impl Home {
    fn shape(&self, memory_mib: u32) -> Shape {
        let file = |name: &str| self.layout.home().join(name);
        let (engine, kernel, guest_disk) = (file("qemu"), file("kernel"), file("guest"));
        Shape { engine, kernel, guest_disk, cpus: 1, memory_mib, tsc_khz: 2_000_000, set_up: None }
    }

    fn path(&self, key: &TemplateKey, name: &str) -> PathBuf {
        self.layout.templates().join(key.as_str()).join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.layout.templates()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "locks" && name != "digests");
        names.sort_unstable();
        names
    }
}

async fn draft(templates: &Templates, shape: &Shape) -> Draft {
    let turn = templates.turn(shape).await.unwrap();
    let draft = templates.begin(shape, turn).unwrap();
    let mut ram = vec![0; 1 << 20];
    ram[300_000] = 1;
    fs::write(draft.dir().join(files::RAM), ram).unwrap();
    fs::write(draft.dir().join(files::STATE), "state").unwrap();
    draft
}

async fn made(templates: &Templates, shape: &Shape) -> TemplateKey {
    let draft = draft(templates, shape).await;
    let key = templates.key(shape).unwrap().unwrap();
    templates.seal(&draft, &key).unwrap();
    key
}

#[tokio::test]
async fn a_sealed_template_is_found_by_any_later_runtime() {
    let home = home();
    let templates = Templates::at(&home.layout, 1 << 30);
    let shape = home.shape(512);
    assert_eq!(templates.known_key(&shape), None, "nobody has looked at the files yet");
    let key = made(&templates, &shape).await;
    let later = Templates::at(&home.layout, 1 << 30);
    assert_eq!(later.known_key(&shape), Some(key.clone()));
    let place = format!("../../templates/{key}");
    assert_eq!(later.usable(&key), Ok(Some(Frozen { place, disk: None })));
    assert_eq!(home.names(), [key.as_str()]);
    assert_eq!(later.usable(&later.key(&home.shape(64)).unwrap().unwrap()), Ok(None));
}

#[tokio::test]
async fn whatever_happened_to_a_file_is_found_before_its_use() {
    let home = home();
    let templates = Templates::at(&home.layout, 1 << 30);
    let shape = home.shape(512);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("ram is not what was written", |dir| {
            let mut ram = fs::read(dir.join(files::RAM)).unwrap();
            ram[300_000] ^= 4;
            fs::write(dir.join(files::RAM), ram).unwrap();
        }),
        ("ram has another length", |dir| fs::write(dir.join(files::RAM), "short").unwrap()),
        ("state is not what was written", |dir| {
            let state = dir.join(files::STATE);
            fs::set_permissions(&state, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&state, "stale").unwrap();
        }),
        ("state: No such file", |dir| fs::remove_file(dir.join(files::STATE)).unwrap()),
        ("template.json: EOF", |dir| fs::write(Record::path(dir), "").unwrap()),
        ("template.json: missing field", |dir| fs::write(Record::path(dir), "{}").unwrap()),
    ];
    for (why, damage) in damages {
        let key = made(&templates, &shape).await;
        assert!(templates.usable(&key).unwrap().is_some());
        damage(&home.layout.templates().join(key.as_str()));
        let seen = templates.usable(&key).unwrap_err();
        assert!(seen.starts_with(why), "{seen}, not {why}");
        templates.discard(&key);
        assert_eq!(home.names(), [""; 0]);
        assert_eq!(templates.usable(&key), Ok(None));
    }
    // A template under another's name was made for another machine.
    let key = made(&templates, &shape).await;
    let other = templates.key(&home.shape(64)).unwrap().unwrap();
    fs::rename(home.path(&key, ""), home.path(&other, "")).unwrap();
    assert!(templates.usable(&other).unwrap_err().contains(key.as_str()));
}

#[tokio::test]
async fn what_is_not_sealed_goes() {
    let home = home();
    let templates = Templates::at(&home.layout, 1 << 30);
    let shape = home.shape(512);
    drop(draft(&templates, &shape).await);
    assert_eq!(home.names(), [""; 0]);
    // A maker's that lives is not touched; a killed one's is swept, as is what could not be deleted.
    let alive = draft(&templates, &shape).await;
    let root = home.layout.templates();
    for name in [".draft-make-1-64-AAAAAAAAAAAA", ".draft-make-9-9-x", ".bad-0-AAAAAAAAAAAA"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let turn_of_a_killed_one = root.join("locks/make-7-7.lock");
    fs::write(&turn_of_a_killed_one, "").unwrap();
    templates.sweep();
    assert_eq!(home.names().len(), 1);
    assert!(!turn_of_a_killed_one.exists());
    assert!(alive.dir().exists());
    drop(alive);
    assert_eq!(home.names(), [""; 0]);
}

#[tokio::test]
async fn the_least_recently_used_make_room() {
    let home = home();
    let templates = Templates::at(&home.layout, 1 << 30);
    let (one, two) = (made(&templates, &home.shape(1)).await, made(&templates, &home.shape(2)).await);
    let room = sum::blocks(&home.path(&one, "")).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for key in [&one, &two] {
        let record = fs::File::options().write(true).open(home.path(key, "template.json")).unwrap();
        record.set_modified(long_ago).unwrap();
    }
    templates.usable(&one).unwrap();
    let tight = Templates::at(&home.layout, room * 5 / 2);
    let three = made(&tight, &home.shape(3)).await;
    let mut left = [one.to_string(), three.to_string()];
    left.sort_unstable();
    assert_eq!(home.names(), left);
    // One that is too large alone is refused, and takes nobody's place.
    let none = Templates::at(&home.layout, room / 2);
    let large = draft(&none, &home.shape(4)).await;
    let error = none.seal(&large, &none.key(&home.shape(4)).unwrap().unwrap()).unwrap_err();
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
    drop(large);
    assert_eq!(home.names(), left);
}

#[tokio::test]
async fn a_box_is_set_up_only_where_machine_and_clones_find_the_same_disks() {
    let cache = tempfile::tempdir().unwrap();
    let with_links = |names: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let shared = cache.path().join(name);
            fs::create_dir_all(&shared).unwrap();
            std::os::unix::fs::symlink(shared, dir.path().join(name)).unwrap();
        }
        let layout = Layout::prepare(dir.path()).unwrap();
        for name in ["qemu", "kernel", "guest", "images/disk", "bases/empty"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        Home { _dir: dir, layout }
    };
    for (links, possible) in [
        (&[][..], true),
        (&["images", "bases", "templates"], true),
        (&["images", "bases"], true),
        (&["templates"], false),
    ] {
        let home = with_links(links);
        let templates = Templates::at(&home.layout, 1 << 30);
        let set_up = SetUp {
            image: "sha256:0".into(),
            image_disk: "images/disk".into(),
            empty_disk: "bases/empty".into(),
            disk_gb: 1,
        };
        let shape = Shape { set_up: Some(set_up), ..home.shape(64) };
        assert_eq!(templates.can_have(&shape), possible, "{links:?}");
        assert_eq!(templates.key(&shape).unwrap().is_some(), possible, "{links:?}");
        assert!(templates.can_have(&home.shape(64)));
        // One that was made again, as after a removal of the image, is another.
        let before = templates.key(&shape).unwrap();
        File::options()
            .write(true)
            .open(home.layout.home().join("images/disk"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(!possible || templates.key(&shape).unwrap() != before);
    }
}
