//! A box whose VM runs, as this process knows it: its shim, the way to its agent, what its start took.

use crate::errors::BoxliteResult;
use crate::layout::BoxLayout;
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
}

impl LiveBox {
    /// A box that this runtime started.
    pub(crate) fn started(
        id: BoxID,
        process: ShimProcess,
        owner: Option<Owner>,
        layout: &BoxLayout,
        stages: Vec<StartStage>,
    ) -> Self {
        Self { id, process, owner, portal: Portal::new(&layout.agent_socket()), stages }
    }

    /// A box that another runtime started and that still runs; `None` when its shim is gone.
    pub(crate) fn adopted(
        id: BoxID,
        pid: u32,
        start_time: Option<u64>,
        layout: &BoxLayout,
    ) -> BoxliteResult<Option<Self>> {
        let process = ShimProcess::find(pid, start_time)
            .map_err(|error| crate::BoxliteError::io("watch the process of", layout.dir(), &error))?;
        Ok(process.filter(|process| !process.has_ended()).map(|process| Self {
            id,
            process,
            owner: None,
            portal: Portal::new(&layout.agent_socket()),
            stages: Vec::new(),
        }))
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
