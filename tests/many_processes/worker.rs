//! One of the processes: random operations on boxes of its own, whose state it knows exactly, and on boxes that it
//! shares with the others.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use boxlite::{
    BoxCommand, BoxOptions, BoxliteError, BoxliteResult, BoxliteRuntime, ImageRegistry, LiteBox, RootfsSpec,
};

use super::errors::Operation;
use super::open;
use super::small_box::small_box;

/// The first is the one boxes are made from.
pub(crate) const IMAGES: [&str; 3] = ["busybox:v1", "small-a:v1", "small-b:v1"];
const OPERATIONS: u32 = 200;
/// Each with a runtime of its own, so that homes are opened and shut down in the middle of it all.
const SESSIONS: u32 = 4;
/// Boxes of each kind.
const OWN: u64 = 4;
const IDLE: u64 = 4;
const BUSY: u64 = 4;

/// What a worker is told.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    pub(crate) home: PathBuf,
    pub(crate) notes: PathBuf,
    pub(crate) registry: String,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, seed, home, notes, registry } = self;
        write!(f, "{number}|{seed}|{}|{}|{registry}", home.display(), notes.display())
    }
}

impl FromStr for Order {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let [number, seed, home, notes, registry] = text.split('|').collect::<Vec<_>>()[..] else {
            return Err(format!("not an order: {text}"));
        };
        let wrong = |error: std::num::ParseIntError| error.to_string();
        Ok(Self {
            number: number.parse().map_err(wrong)?,
            seed: seed.parse().map_err(wrong)?,
            home: home.into(),
            notes: notes.into(),
            registry: registry.into(),
        })
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Worker<'a> {
    order: &'a Order,
    random: Random,
    /// Names and ids of the boxes that only this worker touches and never starts.
    own: BTreeMap<String, String>,
    notes: File,
    done: BTreeMap<Operation, u32>,
    /// Errors, all of them legal.
    met: BTreeMap<String, u32>,
    serial: u32,
}

/// Carries out the order.
pub(crate) async fn work(order: &Order) {
    let mut worker = Worker {
        order,
        random: Random(order.seed.wrapping_add(u64::from(order.number) << 32)),
        own: BTreeMap::new(),
        notes: File::create(&order.notes).expect("a file for notes"),
        done: BTreeMap::new(),
        met: BTreeMap::new(),
        serial: 0,
    };
    for _ in 0..SESSIONS {
        let runtime = open(&order.home, vec![ImageRegistry::http(&order.registry)]);
        for _ in 0..OPERATIONS / SESSIONS {
            worker.operate(&runtime).await;
        }
        runtime.shutdown(None).await.expect("a shutdown");
    }
    for (name, id) in std::mem::take(&mut worker.own) {
        worker.note(&format!("own {name} {id}"));
    }
    for (operation, count) in std::mem::take(&mut worker.done) {
        worker.note(&format!("did {operation:?} {count}"));
    }
    for (error, count) in std::mem::take(&mut worker.met) {
        worker.note(&format!("met {error} {count}"));
    }
}

impl Worker<'_> {
    fn note(&mut self, line: &str) {
        self.notes.write_all(format!("{line}\n").as_bytes()).expect("a note");
    }

    fn own_name(&mut self) -> String {
        format!("own-{}-{}", self.order.number, self.random.below(OWN))
    }

    fn idle_name(&mut self) -> String {
        format!("idle-{}", self.random.below(IDLE))
    }

    fn busy_name(&mut self) -> String {
        format!("busy-{}", self.random.below(BUSY))
    }

    /// A box that is never started.
    fn quiet_name(&mut self) -> String {
        if self.random.below(2) == 0 { self.own_name() } else { self.idle_name() }
    }

    fn any_name(&mut self) -> String {
        if self.random.below(3) == 0 { self.busy_name() } else { self.quiet_name() }
    }

    async fn operate(&mut self, runtime: &BoxliteRuntime) {
        let mut at = self.random.below(100);
        let found = Operation::ALL.into_iter().find(|(_, part)| {
            let here = at < *part;
            at = at.saturating_sub(*part);
            here
        });
        let (operation, _) = found.expect("the parts make a hundred");
        let began = Instant::now();
        let outcome = match operation {
            Operation::Create => self.create(runtime).await,
            Operation::Start => self.start(runtime).await,
            Operation::Exec => self.exec(runtime).await,
            Operation::Stop => self.stop(runtime).await,
            Operation::Remove => self.remove(runtime).await,
            Operation::List => self.list(runtime).await,
            Operation::Get => self.get(runtime).await,
            Operation::Pull => self.pull(runtime).await,
        };
        if let Err(error) = outcome {
            let after = began.elapsed();
            assert!(
                operation.may_fail_with(&error, after),
                "seed {}, worker {}: {operation:?} after {after:?}: {error:?}",
                self.order.seed,
                self.order.number
            );
            let text = format!("{error:?}");
            let kind = text.split('(').next().unwrap_or_default();
            *self.met.entry(format!("{operation:?}:{kind}")).or_default() += 1;
        }
        *self.done.entry(operation).or_default() += 1;
    }

    fn options_of(&self, name: &str) -> BoxOptions {
        let image = RootfsSpec::Image(format!("{}/{}", self.order.registry, IMAGES[0]));
        let options = BoxOptions { rootfs: image, ..small_box() };
        match name {
            "busy-0" | "busy-1" => BoxOptions { detach: true, ..options },
            "busy-3" => BoxOptions { auto_remove: true, ..options },
            _ => options,
        }
    }

    async fn create(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        let name = self.any_name();
        let created = runtime.create(self.options_of(&name), Some(name.clone())).await;
        if name.starts_with("own-") {
            match (&created, self.own.get(&name)) {
                (Ok(sandbox), None) => {
                    self.own.insert(name, sandbox.id().as_str().to_owned());
                }
                (Err(BoxliteError::AlreadyExists(_)), Some(_)) => {}
                (created, known) => panic!("create {name}, known as {known:?}: {created:?}"),
            }
        }
        created.map(drop)
    }

    async fn busy_box(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<LiteBox> {
        let name = self.busy_name();
        let (sandbox, _) = runtime.get_or_create(self.options_of(&name), Some(name)).await?;
        Ok(sandbox)
    }

    async fn start(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        self.busy_box(runtime).await?.start().await
    }

    /// Leaves a token in the box, synced before the command ends.
    async fn exec(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        let sandbox = self.busy_box(runtime).await?;
        self.serial += 1;
        let (id, token) = (sandbox.id().clone(), format!("{}.{}", self.order.number, self.serial));
        self.note(&format!("try {id} {token}"));
        let script = format!("echo {token} >> /tokens && sync");
        let execution = sandbox.exec(BoxCommand::new("sh").args(["-c", &script])).await?;
        match execution.wait().await?.exit_code {
            0 => self.note(&format!("ack {id} {token}")),
            // A stop in mid-run; the shell may have seen its child die of it first.
            -15 | -9 | 143 | 137 => {}
            code => panic!("seed {}: {script} in {id}: exit code {code}", self.order.seed),
        }
        Ok(())
    }

    async fn stop(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        // A box that never ran stays what it is.
        let name = if self.random.below(2) == 0 { self.idle_name() } else { self.busy_name() };
        match runtime.get(&name).await? {
            Some(sandbox) => sandbox.stop().await,
            None => Ok(()),
        }
    }

    async fn remove(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        // What is in a box is looked at in the end: few are to go before that.
        let name = if self.random.below(8) == 0 { self.busy_name() } else { self.quiet_name() };
        let force = self.random.below(2) == 0;
        let removed = runtime.remove(&name, force).await;
        if name.starts_with("own-") {
            match (&removed, self.own.remove(&name)) {
                (Ok(()), Some(_)) | (Err(BoxliteError::NotFound(_)), None) => {}
                (removed, known) => panic!("remove {name}, known as {known:?}: {removed:?}"),
            }
        }
        removed
    }

    async fn list(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        let list = runtime.list_info().await?;
        let ids: HashSet<&str> = list.iter().map(|info| info.id.as_str()).collect();
        let names: HashSet<&str> = list.iter().filter_map(|info| info.name.as_deref()).collect();
        assert!(ids.len() == list.len() && names.len() == list.len(), "not unique: {list:?}");
        let prefix = format!("own-{}-", self.order.number);
        let listed = list.iter().filter_map(|info| Some((info.name.clone()?, info.id.as_str().to_owned())));
        let listed: BTreeMap<String, String> = listed.filter(|(name, _)| name.starts_with(&prefix)).collect();
        assert_eq!(listed, self.own, "seed {}: listed, and known", self.order.seed);
        Ok(())
    }

    async fn get(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        let name = self.any_name();
        let info = runtime.get_info(&name).await?;
        if let Some(info) = &info {
            assert_eq!(info.name.as_ref(), Some(&name));
        }
        if name.starts_with("own-") {
            let id = info.map(|info| info.id.as_str().to_owned());
            assert_eq!(id.as_ref(), self.own.get(&name), "seed {}: {name}", self.order.seed);
        }
        Ok(())
    }

    async fn pull(&mut self, runtime: &BoxliteRuntime) -> BoxliteResult<()> {
        let reference = format!("{}/{}", self.order.registry, IMAGES[self.random.below(3) as usize]);
        let image = runtime.images()?.pull(&reference).await?;
        assert_eq!(image.reference(), reference);
        Ok(())
    }
}
