//! A spare becomes the box that was asked for.
//!
//! Its directory moves, and its shim is told that it is wanted, by whom, and with which image: the rest is the shim's.
//! Called by a start that holds the box's lock: whatever fails half-way is that start's to undo.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::shim::Claim;

use super::Spare;
use crate::db::BoxRow;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::core::Core;
use crate::litebox::live::Recipe;
use crate::litebox::plan::limits_of;
use crate::litebox::record::BoxRecord;
use crate::portal::Portal;
use crate::vmm::Started;
use crate::vmm::engine::Choice;

/// A spare answers at once, or is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A spare that is a box now.
pub(in crate::litebox) struct Claimed {
    pub(in crate::litebox) started: Started,
    pub(in crate::litebox) portal: Portal,
    pub(in crate::litebox) engine: Choice,
}

/// Makes the spare that is kept for `row` its box. `None` when there is none; on an error nothing of it runs any more,
/// and what it left lies where the box's own files go.
pub(in crate::litebox) async fn claim(
    core: &Arc<Core>,
    row: &BoxRow,
    recipe: &Recipe,
    hostname: &str,
) -> Option<BoxliteResult<Claimed>> {
    let spare = core.spares.take(&row.id)?;
    let claimed = tokio::time::timeout(PATIENCE, turn(core, row, recipe, hostname, &spare)).await;
    let claimed = claimed.unwrap_or_else(|_| Err(BoxliteError::Timeout("the spare does not answer".into())));
    Some(match claimed {
        Ok((portal, stages)) => {
            core.spares.count_claimed(!spare.has(recipe));
            let started = Started {
                process: spare.live.process().clone(),
                owner: spare.owner,
                stages,
                agent_stages: Vec::new(),
                tsc_khz: spare.tsc_khz,
            };
            Ok(Claimed { started, portal, engine: spare.engine })
        }
        Err(error) => {
            core.spares.count_refused();
            spare.discard().await;
            Err(error)
        }
    })
}

async fn turn(
    core: &Arc<Core>,
    row: &BoxRow,
    recipe: &Recipe,
    hostname: &str,
    spare: &Spare,
) -> BoxliteResult<(Portal, Vec<(String, u64)>)> {
    let began = Instant::now();
    let now = || began.elapsed().as_micros() as u64;
    let image_disk = if spare.has(recipe) { None } else { Some(disk_from_here(recipe)?) };
    let paths = core.layout.of_box(&row.id);
    let record = BoxRecord::of(row, &recipe.spec, &recipe.image, core.owner);
    let (from, to) = (spare.paths.dir().to_owned(), paths.clone());
    executor::blocking(move || {
        fs::rename(&from, to.dir()).map_err(|error| BoxliteError::io("rename", &from, &error))?;
        record.write(&to)
    })
    .await?;
    let mut at = now();
    let mut stages = vec![("directory".to_owned(), at)];
    let portal = spare.live.portal().moved(&paths.agent_socket());
    let detach = recipe.spec.options.detach;
    let claim = Claim { hostname: hostname.to_owned(), detach, image_disk, limits: limits_of(&recipe.spec) };
    // A directory without a row is nobody's: once the box can hold data, its row must survive a crash of the host.
    let (claimed, kept) = tokio::join!(spare.owner.claim(claim), core.query(|database| database.sync()));
    let steps = claimed?;
    kept?;
    for (name, took) in steps {
        at += took;
        stages.push((name, at));
    }
    stages.push(("shim".to_owned(), at.max(now())));
    Ok((portal, stages))
}

/// The box's image disk, as the shim is to name it.
fn disk_from_here(recipe: &Recipe) -> BoxliteResult<String> {
    let disk = BoxLayout::from_here(&recipe.image.disk);
    disk.into_os_string().into_string().map_err(|name| {
        BoxliteError::Image(Detail::new(format!(
            "a running machine can't be given the disk {}",
            name.display()
        )))
    })
}
