//! What the shim itself says to the agent: the events stream, Configure at the start, PowerOff at the end.
//!
//! Everything else between agent and library passes through `relay` unread.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxlite_proto::agent::{
    ClaimRequest, ClaimResponse, ConfigureRequest, ConfigureResponse, Empty, ExecRequest, PowerOffRequest,
};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::event::Event;
use boxlite_proto::shim::{Claim, Course, ShimSpec};
use boxlite_proto::{BUILD_ID, PROTOCOL_VERSION, stream};
use futures::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use sha2::{Digest, Sha256};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::context;

use super::channel::Opener;
use super::failure::StartError;
use super::log::log;

/// No event is longer.
const LONGEST_EVENT: u64 = 4096;
/// Twice what the guest's generator takes in.
const ENTROPY: usize = 64;
/// Bytes of a UUID.
const UUID: usize = 16;
/// PowerOff is answered before anything is ended.
const POWER_OFF_ANSWER: Duration = Duration::from_secs(2);

/// A spare answers at once, or is not worth waiting for.
const CLAIM_ANSWER: Duration = Duration::from_secs(5);
/// The list of executions is answered at once.
const ACTIVITY_ANSWER: Duration = Duration::from_secs(10);

/// No warm-up takes longer, or says more.
const WARM_UP: Duration = Duration::from_secs(5);
const WARM_UP_OUTPUT: u32 = 4096;

/// What the box's commands are at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// One of them runs.
    pub(crate) running: bool,
    /// When the newest was started, by the guest's clock; `i64::MIN` when there was none.
    pub(crate) newest_start: i64,
}

/// The lines that the agent writes unasked.
pub(crate) struct Events {
    lines: BufReader<yamux::Stream>,
    line: Vec<u8>,
}

impl Events {
    async fn open(opener: &Opener) -> io::Result<Self> {
        let mut stream = opener.open().await.map_err(io::Error::other)?;
        stream.write_all(&[stream::EVENTS]).await?;
        Ok(Self { lines: BufReader::with_capacity(512, stream), line: Vec::new() })
    }

    /// The next event; `None` when there are no more. Unknown ones are passed over. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let room = LONGEST_EVENT.saturating_sub(self.line.len() as u64);
            let got = (&mut self.lines).take(room).read_until(b'\n', &mut self.line).await;
            if got.is_err() || !self.line.ends_with(b"\n") {
                return None;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            match line.parse::<Event>() {
                Ok(event) => return Some(event),
                Err(bad) => log!("passed over an event of the agent: {:?}", bad.0),
            }
        }
    }
}

/// Waits for the agent's first word and makes sure that it is of this build.
pub(crate) async fn greet(opener: &Opener) -> Result<Events, StartError> {
    let mut events = Events::open(opener).await.map_err(|error| StartError::Channel(error.to_string()))?;
    match events.next().await {
        Some(Event::Hello { protocol, build_id }) if protocol == PROTOCOL_VERSION && build_id == BUILD_ID => {
            Ok(events)
        }
        Some(Event::Hello { protocol, build_id }) => Err(StartError::BuildMismatch {
            who: "the agent on the guest disk",
            ours: BUILD_ID.into(),
            our_protocol: PROTOCOL_VERSION,
            theirs: build_id,
            their_protocol: protocol,
        }),
        Some(Event::Bye(reason)) => {
            Err(StartError::Channel(format!("the agent's first word was {reason:?}")))
        }
        None => Err(StartError::Channel("it ended before the agent's first word".into())),
    }
}

/// Calls to the agent.
#[derive(Clone)]
pub(crate) struct Calls(AgentClient);

impl Calls {
    /// A stream for calls.
    pub(crate) async fn open(opener: &Opener) -> Result<Self, StartError> {
        let channel = |error: String| StartError::Channel(error);
        let mut stream = opener.open().await.map_err(|error| channel(error.to_string()))?;
        stream.write_all(&[stream::CALLS]).await.map_err(|error| channel(error.to_string()))?;
        Ok(Self(AgentClient::new(Client::new(Socket::new(stream.compat())))))
    }

    /// Gives the guest its identity and the moment's secrets. Bounded by the start's own deadline.
    pub(crate) async fn configure(&self, spec: &ShimSpec) -> Result<ConfigureResponse, StartError> {
        let request = word_of(spec)?;
        self.0.configure(context::with_timeout(0), &request).await.map_err(|error| refusal(&error))
    }

    /// Makes the agent of a machine that was set up ahead that of this box, which may be a spare.
    pub(crate) async fn take_over(&self, spec: &ShimSpec) -> Result<ConfigureResponse, StartError> {
        let word = word_of(spec)?;
        let request = ClaimRequest {
            hostname: word.hostname,
            wall_clock_ns: word.wall_clock_ns,
            entropy: word.entropy,
            machine_id: word.machine_id,
            pids_max: word.pids_max,
            cpu_millis: word.cpu_millis,
            test_hooks: word.test_hooks,
            rehearse: word.rehearse,
            image: word.image,
            boot_id: word.boot_id,
            ..ClaimRequest::default()
        };
        let claimed =
            self.0.claim(context::with_timeout(0), &request).await.map_err(|error| refusal(&error))?;
        Ok(ConfigureResponse { stages: claimed.stages, ..ConfigureResponse::default() })
    }

    /// Runs a command in a machine that is made ahead, so that the kernel has what of the image commands begin with. An
    /// image without a shell has none of that.
    pub(crate) async fn warm_up(&self, number: u32) -> Result<(), StartError> {
        let mut request = ExecRequest::new();
        request.id = format!("warm-up-{number}");
        request.argv =
            ["/bin/sh", "-c", "echo warm; echo warm >&2"].map(|text| text.as_bytes().to_vec()).into();
        request.inline_bytes = WARM_UP_OUTPUT;
        request.timeout_ms = WARM_UP.as_millis() as u64;
        self.0.exec(context::with_timeout(0), &request).await.map(drop).map_err(|error| refusal(&error))
    }

    /// Ends what the warm-up has left.
    pub(crate) async fn renew(&self) -> Result<(), StartError> {
        self.0.renew(context::with_timeout(0), &Empty::new()).await.map(drop).map_err(|error| refusal(&error))
    }

    /// Writes what the box has written to its disk.
    pub(crate) async fn sync(&self) -> Result<(), StartError> {
        self.0.sync(context::with_timeout(0), &Empty::new()).await.map(drop).map_err(|error| refusal(&error))
    }

    /// Has a spare's agent let go of the image.
    pub(crate) async fn vacate(&self) -> ttrpc::Result<()> {
        self.0.vacate(context::with_duration(CLAIM_ANSWER), &Empty::new()).await.map(drop)
    }

    /// Makes a spare's agent that of the box that is `wanted`.
    pub(crate) async fn claim(&self, wanted: &Claim, entropy: Vec<u8>) -> ttrpc::Result<ClaimResponse> {
        let mut request = ClaimRequest::new();
        request.hostname = wanted.hostname.clone();
        request.pids_max = wanted.limits.pids_max;
        request.cpu_millis = wanted.limits.cpu_millis;
        request.entropy = entropy;
        request.wall_clock_ns = wall_clock_ns();
        self.0.claim(context::with_duration(CLAIM_ANSWER), &request).await
    }

    /// What the box's commands are at.
    pub(crate) async fn activity(&self) -> ttrpc::Result<Activity> {
        let answer = self.0.executions(context::with_duration(ACTIVITY_ANSWER), &Empty::new()).await?;
        let known = &answer.executions;
        Ok(Activity {
            running: known.iter().any(|execution| execution.exit.is_none()),
            newest_start: known.iter().map(|execution| execution.started_ns).max().unwrap_or(i64::MIN),
        })
    }

    /// Asks the agent to end everything in order. It answers before it begins.
    pub(crate) async fn power_off(&self, grace: Duration) -> ttrpc::Result<()> {
        let mut request = PowerOffRequest::new();
        request.grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.0.power_off(context::with_duration(POWER_OFF_ANSWER), &request).await.map(drop)
    }
}

/// What the agent is told of a box, with the moment's secrets.
fn word_of(spec: &ShimSpec) -> Result<ConfigureRequest, StartError> {
    let plumbing = |source| StartError::Plumbing { what: "entropy for the guest", source };
    let mut request = ConfigureRequest::new();
    request.box_id = spec.box_id.clone();
    request.hostname = spec.hostname.clone();
    request.entropy = entropy().map_err(plumbing)?;
    request.machine_id = machine_id(&spec.box_id);
    request.pids_max = spec.limits.pids_max;
    request.cpu_millis = spec.limits.cpu_millis;
    request.test_hooks = spec.test_hooks;
    request.image = spec.image.clone();
    request.spare = spec.spare || matches!(spec.course, Course::Freeze { .. });
    request.rehearse = spec.rehearse;
    request.boot_id = uuid(random(UUID).map_err(plumbing)?);
    request.wall_clock_ns = wall_clock_ns();
    Ok(request)
}

/// The agent's own words, where it has said any.
fn refusal(error: &ttrpc::Error) -> StartError {
    match error {
        ttrpc::Error::RpcStatus(status) => StartError::AgentRefused { why: status.message.clone() },
        other => StartError::Channel(other.to_string()),
    }
}

/// From the host's generator, for the guest's.
pub(crate) fn entropy() -> io::Result<Vec<u8>> {
    random(ENTROPY)
}

fn random(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Stays the same over the box's life, tells nothing of the box id, and is a version 4 UUID as machine-id(5) wants.
fn machine_id(box_id: &str) -> Vec<u8> {
    let digest = Sha256::new().chain_update("boxlite machine-id ").chain_update(box_id).finalize();
    uuid(digest[..UUID].to_vec())
}

/// A version 4 UUID of 16 bytes.
fn uuid(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn wall_clock_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
