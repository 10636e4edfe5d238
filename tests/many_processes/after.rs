//! The home after all processes have ended: what they were promised is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use boxlite::litebox::OutputMode;
use boxlite::{BoxCommand, ImageRegistry, LiteBox};
use boxlite_test_utils::registry::Registry;
use futures::TryStreamExt;

use super::worker::IMAGES;
use super::{open, referee};

/// What the workers noted.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Boxes that only one worker touched, as it left them.
    own: BTreeMap<String, String>,
    /// Tokens by box: sent, and acknowledged by exit code 0.
    tried: BTreeSet<(String, String)>,
    acknowledged: BTreeSet<(String, String)>,
    done: BTreeMap<String, u32>,
    /// Legal errors.
    met: BTreeMap<String, u32>,
}

fn count(text: &str) -> u32 {
    text.parse().expect("a count")
}

impl Notes {
    pub(crate) fn read(texts: &[String]) -> Self {
        let mut notes = Self::default();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, one, other] = words[..] else { panic!("a note: {line}") };
            let pair = (one.to_owned(), other.to_owned());
            match what {
                "own" => {
                    notes.own.insert(pair.0, pair.1);
                }
                "try" => assert!(notes.tried.insert(pair), "twice: {line}"),
                "ack" => assert!(notes.acknowledged.insert(pair), "twice: {line}"),
                "did" => *notes.done.entry(pair.0).or_default() += count(other),
                "met" => *notes.met.entry(pair.0).or_default() += count(other),
                _ => panic!("a note: {line}"),
            }
        }
        notes
    }
}

/// Checks everything; then all boxes are removed, and the home has to be as a new one.
pub(crate) async fn check(home: &Path, registry: &Registry, notes: &Notes, seed: u64) -> String {
    assert_eq!(notes.done.values().sum::<u32>(), 1600, "all operations were made: {:?}", notes.done);
    let runtime = open(home, vec![ImageRegistry::http(registry.host())]);
    let list = runtime.list_info().await.unwrap();
    let own: BTreeMap<String, String> = list
        .iter()
        .filter_map(|info| Some((info.name.clone()?, info.id.as_str().to_owned())))
        .filter(|(name, _)| name.starts_with("own-"))
        .collect();
    assert_eq!(own, notes.own, "seed {seed}: the boxes that each worker has left");

    let mut kept = 0;
    for info in &list {
        let sandbox = runtime.get(info.id.as_str()).await.unwrap().expect("a listed box");
        if info.name.as_ref().is_some_and(|name| name.starts_with("busy-")) && info.started_at.is_some() {
            kept += check_tokens(&sandbox, notes, seed).await;
        }
        runtime.remove(info.id.as_str(), true).await.unwrap();
    }

    for name in IMAGES {
        let image =
            runtime.images().unwrap().get(&registry.image(name)).await.unwrap().expect("it was pulled");
        for layer in &image.layers {
            let downloads = registry.downloads(&layer.digest.to_string(), 1);
            assert_eq!(downloads, 1, "seed {seed}: {} of {}", layer.digest, image.reference);
        }
    }
    runtime.shutdown(None).await.unwrap();
    drop(runtime);
    check_empty(home, seed);
    format!(
        "{} tokens acknowledged, {kept} of them in boxes that are still there; {:?}; errors {:?}",
        notes.acknowledged.len(),
        notes.done,
        notes.met
    )
}

/// Every acknowledged token is in the box, none is there twice, and none that nobody sent.
async fn check_tokens(sandbox: &LiteBox, notes: &Notes, seed: u64) -> usize {
    let id = sandbox.id().as_str();
    let command = BoxCommand::new("cat").arg("/tokens").stdout_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await.unwrap();
    let output: Vec<_> = execution.stdout().unwrap().bytes().try_collect().await.unwrap();
    let output = String::from_utf8(output.concat()).unwrap();
    let found: Vec<&str> = output.lines().collect();
    let of_box = |pairs: &BTreeSet<(String, String)>| -> BTreeSet<String> {
        pairs.iter().filter(|(other, _)| other == id).map(|(_, token)| token.clone()).collect()
    };
    let (tried, acknowledged) = (of_box(&notes.tried), of_box(&notes.acknowledged));
    let unique: BTreeSet<String> = found.iter().map(|&token| token.to_owned()).collect();
    assert_eq!(unique.len(), found.len(), "seed {seed}: tokens twice in {id}: {found:?}");
    assert!(unique.is_subset(&tried), "seed {seed}: in {id} but never sent: {:?}", &unique - &tried);
    assert!(acknowledged.is_subset(&unique), "seed {seed}: lost in {id}: {:?}", &acknowledged - &unique);
    acknowledged.len()
}

fn check_empty(home: &Path, seed: u64) {
    for dir in ["boxes", "locks", "tmp", "images/locks", "images/tmp"] {
        let left: Vec<_> = fs::read_dir(home.join(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "seed {seed}: left in the home: {left:?}");
    }
    let processes = (referee::shims_in(home), referee::machines_in(home));
    assert_eq!(processes, (Vec::new(), Vec::new()), "seed {seed}: left running");
    let database = rusqlite::Connection::open(home.join("db/boxlite.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let rows: u32 = database.query_row("SELECT count(*) FROM boxes", [], |row| row.get(0)).unwrap();
    assert_eq!((verdict.as_str(), rows), ("ok", 0), "seed {seed}: the database");
}
