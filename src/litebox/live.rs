//! A box whose VM runs, as this process knows it: its shim, the way to its agent, what its start took.

use crate::db::BoxRow;
use crate::errors::BoxliteResult;
use crate::layout::BoxLayout;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::model::id::BoxID;
use crate::model::types::StartStage;
use crate::portal::Portal;
use crate::vmm::{Owner, ShimProcess};

/// A running box.
#[derive(Debug)]
pub(crate) struct LiveBox {
    id: BoxID,
    process: ShimProcess,
    /// Present when this runtime started the box and it isn't detached.
    owner: Option<Owner>,
    portal: Portal,
    stages: Vec<StartStage>,
    recipe: BoxliteResult<Recipe>,
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
        layout: &BoxLayout,
        stages: Vec<StartStage>,
        recipe: Recipe,
    ) -> Self {
        Self { id, process, owner, portal: Portal::new(&layout.agent_socket()), stages, recipe: Ok(recipe) }
    }

    /// A box that another runtime started and that still runs; `None` when its shim is gone.
    pub(crate) fn adopted(row: &BoxRow, pid: u32, layout: &BoxLayout) -> BoxliteResult<Option<Self>> {
        let process = ShimProcess::find(pid, row.pid_start)
            .map_err(|error| crate::BoxliteError::io("watch the process of", layout.dir(), &error))?;
        Ok(process.filter(|process| !process.has_ended()).map(|process| Self {
            id: row.id.clone(),
            process,
            owner: None,
            portal: Portal::new(&layout.agent_socket()),
            stages: Vec::new(),
            // One that can't be read keeps no box from being stopped: only commands need it.
            recipe: Recipe::of(row),
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

    pub(crate) fn portal(&self) -> &Portal {
        &self.portal
    }

    pub(crate) fn stages(&self) -> &[StartStage] {
        &self.stages
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
