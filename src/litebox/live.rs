//! A box whose VM runs, as this process knows it: its shim, the way to its agent, what its start took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::db::BoxRow;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::layout::BoxLayout;
use crate::litebox::ending::BoxEnd;
use crate::litebox::metrics::CommandCounters;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::model::id::BoxID;
use crate::model::types::StartStage;
use crate::portal::Portal;
use crate::vmm::{self, Owner, ShimProcess};

/// How long after its channel a box that goes down may end.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// A running box.
#[derive(Debug)]
pub(crate) struct LiveBox {
    id: BoxID,
    process: ShimProcess,
    /// Present when this runtime started the box and it isn't detached.
    owner: Option<Owner>,
    portal: Portal,
    layout: BoxLayout,
    end: OnceLock<BoxEnd>,
    stages: Vec<StartStage>,
    recipe: BoxliteResult<Recipe>,
    /// Somebody in this runtime makes an end of it, and records it.
    is_ending: AtomicBool,
    /// Somebody knows that it runs.
    is_used: AtomicBool,
    commands: CommandCounters,
}

/// What every command of a box needs to know of it; fixed while it runs.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) spec: BoxSpec,
    pub(crate) image: BoxImage,
}

impl Recipe {
    fn of(row: &BoxRow) -> BoxliteResult<Self> {
        Ok(Self { spec: BoxSpec::of(row)?, image: BoxImage::of(row)?.unwrap_or_default() })
    }
}

impl LiveBox {
    /// A box that this runtime started.
    pub(crate) fn started(
        id: BoxID,
        process: ShimProcess,
        owner: Option<Owner>,
        portal: Portal,
        layout: &BoxLayout,
        stages: Vec<StartStage>,
        recipe: Recipe,
    ) -> Self {
        Self {
            id,
            process,
            owner,
            portal,
            layout: layout.clone(),
            end: OnceLock::new(),
            stages,
            recipe: Ok(recipe),
            is_ending: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            commands: CommandCounters::default(),
        }
    }

    /// A box that another runtime started and that still runs, whatever its row says of the process; `None` when its shim
    /// is gone.
    pub(crate) fn adopted(row: &BoxRow, layout: &BoxLayout) -> BoxliteResult<Option<Self>> {
        let Some(shim) = vmm::locate(&row.id, row.pid, row.pid_start, layout) else { return Ok(None) };
        let process = ShimProcess::find(shim.pid, shim.start_time)
            .map_err(|error| crate::BoxliteError::io("watch the process of", layout.dir(), &error))?;
        Ok(process.filter(|process| !process.has_ended()).map(|process| Self {
            id: row.id.clone(),
            process,
            owner: None,
            portal: Portal::new(&layout.agent_socket()),
            layout: layout.clone(),
            end: OnceLock::new(),
            stages: Vec::new(),
            // One that can't be read keeps no box from being stopped: only commands need it.
            recipe: Recipe::of(row),
            is_ending: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            commands: CommandCounters::default(),
        }))
    }

    /// What commands need to know; an error when the stored form is damaged.
    pub(crate) fn recipe(&self) -> BoxliteResult<&Recipe> {
        self.recipe.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn id(&self) -> &BoxID {
        &self.id
    }

    pub(crate) fn process(&self) -> &ShimProcess {
        &self.process
    }

    /// Somebody counts on it to run.
    pub(crate) fn note_use(&self) {
        self.is_used.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::SeqCst)
    }

    /// What was run in it through this runtime.
    pub(crate) fn commands(&self) -> &CommandCounters {
        &self.commands
    }

    /// How the box ended, once its shim has. Kept, since the directory that tells it may go. Blocking.
    pub(crate) fn end(&self) -> BoxEnd {
        self.end.get_or_init(|| BoxEnd::of_run(&self.layout)).clone()
    }

    pub(crate) fn portal(&self) -> &Portal {
        &self.portal
    }

    /// The error of a call to the agent. That the channel broke says little: when the box ends with it, the end is told.
    pub(crate) async fn explain(&self, error: BoxliteError) -> BoxliteError {
        let broken = matches!(error, BoxliteError::RpcTransport(_) | BoxliteError::Portal(_));
        if !broken || tokio::time::timeout(LAST_STEPS, self.process.ended()).await.is_err() {
            return error;
        }
        BoxliteError::Stopped(
            Detail::new(format!("box {} ended meanwhile ({error})", self.id))
                .subject(self.id.as_str())
                .hint("somebody stopped it, or it ended by itself: get the box again"),
        )
    }

    pub(crate) fn stages(&self) -> &[StartStage] {
        &self.stages
    }

    /// Says that the caller ends the box and records its end.
    pub(crate) fn begin_end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// Whether somebody ends the box who records that, too.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Whether the box goes when this runtime goes.
    pub(crate) fn is_owned(&self) -> bool {
        self.owner.is_some()
    }

    /// Makes an owned box stop by itself, without waiting.
    pub(crate) fn let_go(&self) {
        if let Some(owner) = &self.owner {
            owner.let_go();
        }
    }
}
