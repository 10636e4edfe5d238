//! Templates from a box's point of view: which one a start uses, and what became of it. How one is made is `making`'s.
//!
//! The templates' directory is `vmm::template`'s; freezing and cloning are the shim's.

mod making;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use boxlite_proto::shim::{Course, EngineKind, Progress};
use serde_json::json;

use crate::disk::ext4;
use crate::executor;
use crate::litebox::core::Core;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::log::LogLevel;
use crate::model::types::StartCounts;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;
use crate::vmm::template::{Frozen, SetUp, Shape, TemplateKey};

pub(crate) use making::prepare;
pub(super) use making::{make_later, want_set_up};

/// What became of templates in one runtime.
#[derive(Debug, Default)]
pub(crate) struct Clones {
    booted: AtomicU64,
    cloned: AtomicU64,
    made: AtomicU64,
    refused: AtomicU64,
    /// Machines for which one was made in the background, or could not be, by what their makers take turns by.
    tried: Mutex<HashSet<String>>,
}

impl Clones {
    pub(crate) fn counts(&self) -> StartCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StartCounts {
            booted: read(&self.booted),
            cloned: read(&self.cloned),
            templates_made: read(&self.made),
            templates_refused: read(&self.refused),
            ..StartCounts::default()
        }
    }

    fn is_new(&self, shape: &Shape) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.insert(shape.lock())
    }
}

/// The template of one start, if there is one.
pub(super) struct Template {
    /// What the next better template would have to be like; `None` where there is none better.
    wanted: Option<Shape>,
    found: Option<(TemplateKey, Frozen)>,
}

/// Looks for the template of a box; best, where the box has never run, for one in which a box of its `image` is set up.
/// That there is none, or that it is damaged, is no reason not to start.
pub(super) async fn template_for(
    core: &Arc<Core>,
    spec: &BoxSpec,
    engine: &Choice,
    image: Option<&BoxImage>,
) -> Template {
    let Some(shape) = shape_of(core, spec, engine) else { return Template { wanted: None, found: None } };
    let set_up = image.map(|image| set_up_of(core, spec, image));
    let (looking, bare) = (core.clone(), shape.clone());
    let looked = executor::blocking(move || {
        let Some(set_up) = set_up.map(|set_up| Shape { set_up: Some(set_up), ..bare.clone() }) else {
            return Ok(Template { wanted: None, found: look(&looking, &bare) });
        };
        if let Some(found) = look(&looking, &set_up) {
            // The other is still of use: for boxes of other images, and of boxes that have run.
            looking.templates.mark_used(&bare);
            return Ok(Template { wanted: None, found: Some(found) });
        }
        let found = look(&looking, &bare);
        let better = if found.is_some() { set_up } else { bare };
        Ok(Template { wanted: Some(better), found })
    });
    looked.await.unwrap_or(Template { wanted: Some(shape), found: None })
}

fn look(core: &Core, shape: &Shape) -> Option<(TemplateKey, Frozen)> {
    let key = core.templates.known_key(shape)?;
    match core.templates.usable(&key) {
        Ok(found) => found.map(|frozen| (key, frozen)),
        Err(why) => {
            refuse(core, &key, &why);
            None
        }
    }
}

impl Template {
    /// What the shim is to do first.
    pub(super) fn course(&self) -> Option<Course> {
        self.found.as_ref().map(|(_, frozen)| Course::Clone {
            template: frozen.place.clone(),
            progress: if frozen.disk.is_some() { Progress::SetUp } else { Progress::Booted },
        })
    }

    /// What the box's disk has to be a copy of.
    pub(super) fn disk(&self) -> Option<&Path> {
        self.found.as_ref().and_then(|(_, frozen)| frozen.disk.as_deref())
    }

    /// The box could not be cloned, and could be booted.
    pub(super) async fn refuse(&mut self, core: &Arc<Core>, why: &str) {
        let Some((key, _)) = self.found.take() else { return };
        let (core, why) = (core.clone(), why.to_owned());
        let refused = executor::blocking(move || {
            refuse(&core, &key, &why);
            Ok(())
        });
        // It only fails when the runtime ends.
        let _ = refused.await;
    }

    /// The box runs. A better template is made for the next, where there is one.
    pub(super) fn count(self, core: &Arc<Core>) {
        let count = if self.found.is_some() { &core.clones.cloned } else { &core.clones.booted };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(shape) = self.wanted {
            make_later(core, shape);
        }
    }
}

/// `None` where boxes are not cloned.
fn shape_of(core: &Core, spec: &BoxSpec, engine: &Choice) -> Option<Shape> {
    if !core.templates.are_wanted() || engine.kind != EngineKind::QemuTcg {
        return None;
    }
    Some(Shape {
        engine: engine.program.clone(),
        kernel: core.finder.find(Piece::Kernel).ok()?,
        guest_disk: core.finder.find(Piece::GuestDisk).ok()?,
        cpus: spec.cpus(),
        memory_mib: spec.memory().0,
        tsc_khz: core.tsc.khz(),
        set_up: None,
    })
}

fn set_up_of(core: &Core, spec: &BoxSpec, image: &BoxImage) -> SetUp {
    let disk_gb = spec.disk_size_gb();
    SetUp {
        image: image.manifest_digest.clone(),
        image_disk: image.disk.clone(),
        empty_disk: core.layout.relative(&core.layout.bases().join(ext4::base_name(disk_gb))),
        disk_gb,
    }
}

fn refuse(core: &Core, key: &TemplateKey, why: &str) {
    core.clones.refused.fetch_add(1, Ordering::Relaxed);
    core.templates.discard(key);
    let fields = json!({ "template": key.as_str(), "reason": why });
    core.log.write(LogLevel::Warn, "template can't be used, the box boots", "", fields);
}
