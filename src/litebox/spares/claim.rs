//! A spare becomes the box that was asked for.
//!
//! Its directory moves, its agent gets the box's name and new entropy, its shim is told that it is wanted. Called by a
//! start that holds the box's lock: whatever fails half-way is that start's to undo.

use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::agent::ClaimRequest;
use boxlite_proto::agent_ttrpc::AgentClient;

use super::Spare;
use crate::db::{BoxRow, now_ns};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::litebox::core::Core;
use crate::litebox::live::Recipe;
use crate::litebox::record::BoxRecord;
use crate::portal::{self, Portal};
use crate::vmm::Started;
use crate::vmm::engine::Choice;

/// A spare answers at once, or is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Twice what the guest's generator takes in.
const ENTROPY: usize = 64;

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
            core.spares.count_claimed();
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
    let mut stages = Vec::new();
    let mut done = |name: &str| stages.push((name.to_owned(), began.elapsed().as_micros() as u64));
    if spare.image.manifest_digest != recipe.image.manifest_digest {
        return Err(BoxliteError::Image(Detail::new("the spare has another image by this name")));
    }
    let paths = core.layout.of_box(&row.id);
    let record = BoxRecord::of(row, &recipe.spec, &recipe.image, core.owner);
    let (from, to) = (spare.paths.dir().to_owned(), paths.clone());
    executor::blocking(move || {
        fs::rename(&from, to.dir()).map_err(|error| BoxliteError::io("rename", &from, &error))?;
        record.write(&to)
    })
    .await?;
    done("directory");
    let portal = spare.live.portal().moved(&paths.agent_socket());
    let mut request = ClaimRequest::new();
    request.hostname = hostname.to_owned();
    request.entropy = entropy()?;
    request.wall_clock_ns = now_ns();
    let limit = portal::within(PATIENCE);
    // A directory without a row is nobody's: once the box can hold data, its row must survive a crash of the host.
    let (answer, kept) = tokio::join!(
        portal.call("claim", |agent: AgentClient| async move { agent.claim(limit, &request).await }),
        core.query(|database| database.sync()),
    );
    answer?;
    kept?;
    done("agent");
    spare.owner.claim(recipe.spec.options.detach).await?;
    done("shim");
    Ok((portal, stages))
}

fn entropy() -> BoxliteResult<Vec<u8>> {
    let mut entropy = vec![0; ENTROPY];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut entropy))
        .map_err(|error| BoxliteError::io("read", "/dev/urandom".as_ref(), &error))?;
    Ok(entropy)
}
