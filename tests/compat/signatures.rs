//! Every method with the types of its parameters and its result. A changed one fails to compile; nothing is called.

use std::path::PathBuf;
use std::time::Duration;

use boxlite::litebox::copy::CopyOptions;
use boxlite::litebox::{ExecStderr, ExecStdin, ExecStdout, ExecutionId};
use boxlite::runtime::ImageHandle;
use boxlite::runtime::id::BoxIDMint;
use boxlite::runtime::options::{BoxliteOptions, ImageRegistry};
use boxlite::runtime::types::{BoxInfo, Bytes, ImageInfo};
use boxlite::util::{PidFileReader, PidRecord, is_process_alive, process_start_time};
use boxlite::{
    BoxCommand, BoxID, BoxOptions, BoxStatus, BoxliteError, BoxliteResult, BoxliteRuntime, ExecResult,
    Execution, LiteBox,
};
use futures::Stream;

/// The method's future may cross threads and gives this.
fn gives<T>(_: impl Future<Output = BoxliteResult<T>> + Send) {}

fn runtime(runtime: &BoxliteRuntime, options: fn() -> BoxOptions, name: Option<String>) {
    let _: fn(BoxliteOptions) -> BoxliteResult<BoxliteRuntime> = BoxliteRuntime::new;
    let _: fn() -> BoxliteResult<BoxliteRuntime> = BoxliteRuntime::with_defaults;
    let _: fn(&BoxliteRuntime) -> BoxliteResult<ImageHandle> = BoxliteRuntime::images;
    gives::<LiteBox>(runtime.create(options(), name.clone()));
    gives::<(LiteBox, bool)>(runtime.get_or_create(options(), name));
    gives::<Option<LiteBox>>(runtime.get("key"));
    gives::<Option<BoxInfo>>(runtime.get_info("key"));
    gives::<Vec<BoxInfo>>(runtime.list_info());
    gives::<bool>(runtime.exists("key"));
    gives::<()>(runtime.remove("key", true));
    gives::<()>(runtime.shutdown(None::<i32>));
}

fn images(images: &ImageHandle) {
    gives::<Vec<ImageInfo>>(images.list());
    gives::<()>(async {
        let image = images.pull("alpine").await?;
        let (_, _, _): (&str, &str, usize) = (image.reference(), image.config_digest(), image.layer_count());
        Ok(())
    });
}

fn litebox(sandbox: &LiteBox, command: BoxCommand) {
    let _: fn(&LiteBox) -> &BoxID = LiteBox::id;
    let _: fn(&LiteBox) -> Option<&str> = LiteBox::name;
    let _: fn(&LiteBox) -> BoxInfo = LiteBox::info;
    gives::<()>(sandbox.copy_into("from", "/to", CopyOptions::new().no_overwrite().follow_symlinks(true)));
    gives::<()>(sandbox.copy_out(
        "/from",
        "to",
        CopyOptions::default().non_recursive().include_parent(false),
    ));
    gives::<Execution>(sandbox.attach("id"));
    gives::<()>(sandbox.start());
    gives::<()>(sandbox.stop());
    gives::<Execution>(sandbox.exec(command));
}

fn command() -> BoxCommand {
    let owned = String::from("owned");
    let _: fn(BoxCommand, Duration) -> BoxCommand = BoxCommand::timeout;
    let _: fn(BoxCommand, bool) -> BoxCommand = BoxCommand::tty;
    BoxCommand::new("sh")
        .arg(owned.clone())
        .arg(&owned)
        .args(["a", "b"])
        .args(vec![owned.clone()])
        .args(&[owned.clone(), owned.clone()])
        .env("KEY", owned.clone())
        .env(owned.clone(), "value")
        .working_dir("/")
        .working_dir(owned.clone())
        .user("root")
        .user(owned)
}

fn execution(execution: &mut Execution) {
    let _: fn(&Execution) -> &ExecutionId = Execution::id;
    let _: String = execution.id().clone();
    let _: fn(&mut Execution) -> Option<ExecStdin> = Execution::stdin;
    let _: fn(&mut Execution) -> Option<ExecStdout> = Execution::stdout;
    let _: fn(&mut Execution) -> Option<ExecStderr> = Execution::stderr;
    gives::<ExecResult>(execution.wait());
    gives::<()>(execution.kill());
    gives::<()>(execution.signal(15_i32));
    gives::<()>(execution.resize_tty(24_u32, 80_u32));
    let _: fn(&ExecResult) -> bool = ExecResult::success;
    let _: fn(&ExecResult) -> i32 = ExecResult::code;
}

fn streams(mut stdin: ExecStdin, stdout: ExecStdout, stderr: ExecStderr) {
    fn is_text(_: impl Stream<Item = String> + Send + Unpin) {}
    is_text(stdout);
    is_text(stderr);
    gives::<()>(stdin.write_all(b"bytes"));
    gives::<()>(stdin.write(b"bytes"));
    let _: fn(&mut ExecStdin) = ExecStdin::close;
    let _: fn(&ExecStdin) -> bool = ExecStdin::is_closed;
}

fn ids() {
    let _: fn() -> BoxID = BoxIDMint::mint;
    let _: fn(&str) -> Option<BoxID> = BoxID::parse;
    let _: fn(&str) -> bool = BoxID::is_valid;
    let _: fn(&BoxID) -> &str = BoxID::as_str;
    let _: fn(&BoxID) -> &str = BoxID::short;
    let _: fn(&BoxID, &str) -> bool = BoxID::starts_with;
    let _: [usize; 2] = [BoxIDMint::MINT_LENGTH, BoxID::SHORT_LENGTH];
    let _: &str = boxlite::VERSION;
}

fn statuses() {
    let _: [fn(&BoxStatus) -> bool; 6] = [
        BoxStatus::is_active,
        BoxStatus::is_running,
        BoxStatus::is_configured,
        BoxStatus::is_stopped,
        BoxStatus::is_paused,
        BoxStatus::is_transient,
    ];
    let _: fn(&BoxStatus) -> &'static str = BoxStatus::as_str;
    let _: Result<BoxStatus, ()> = "running".parse::<BoxStatus>();
    let _: fn(&Bytes) -> u64 = Bytes::as_bytes;
}

fn registries(registry: fn() -> ImageRegistry) -> [ImageRegistry; 6] {
    let _: fn(ImageRegistry, bool) -> ImageRegistry = ImageRegistry::with_search;
    let _: fn(ImageRegistry, bool) -> ImageRegistry = ImageRegistry::with_skip_verify;
    [
        ImageRegistry::https("host"),
        ImageRegistry::http(String::from("host")),
        registry().with_search(true),
        registry().with_skip_verify(true),
        registry().with_basic_auth("user", String::from("password")),
        registry().with_bearer_auth("token"),
    ]
}

fn util(path: PathBuf) {
    let reader: PidFileReader = PidFileReader::at(&path);
    let _ = [PidFileReader::at("shim.pid"), PidFileReader::at(path)];
    let _: BoxliteResult<PidRecord> = reader.read();
    let _: fn(u32) -> bool = is_process_alive;
    let _: fn(u32) -> Option<u64> = process_start_time;
}

/// Each kind of error has one text inside, by which it is matched, made and searched.
fn errors(error: BoxliteError) -> Option<String> {
    use BoxliteError::*;
    match &error {
        Engine(text)
        | Config(text)
        | Storage(text)
        | Image(text)
        | Portal(text)
        | Network(text)
        | Rpc(text)
        | Internal(text)
        | Execution(text)
        | Unsupported(text)
        | NotFound(text)
        | AlreadyExists(text)
        | InvalidState(text)
        | Database(text)
        | InvalidArgument(text)
        | Stopped(text)
        | ResourceExhausted(text)
        | RpcTransport(text)
        | MetadataError(text)
        | SessionReaped(text) => {
            let words: &str = text;
            (words.contains("words") && text.starts_with("some")).then(|| format!("{text} {text:?}"))
        }
        _ => None,
    }
}

/// `?` turns these into an error of ours.
fn conversions(path: &str) -> BoxliteResult<serde_json::Value> {
    let text = std::fs::read_to_string(path)?;
    if text.is_empty() {
        Err("empty")?;
        Err(String::from("empty"))?;
        return Err(BoxliteError::Config("empty".into()));
    }
    Ok(serde_json::from_str(&text)?)
}

#[test]
fn methods_have_the_types_callers_were_compiled_against() {
    // A name for a type that would be long on one line.
    type MakeOptions = fn() -> BoxOptions;
    let _: fn(&BoxliteRuntime, MakeOptions, Option<String>) = runtime;
    let _: fn(&ImageHandle) = images;
    let _: fn(&LiteBox, BoxCommand) = litebox;
    let _: fn(&mut Execution) = execution;
    let _: fn(ExecStdin, ExecStdout, ExecStderr) = streams;
    let _ = command();
    ids();
    statuses();
    util(PathBuf::new());
    assert_eq!(registries(|| ImageRegistry::http("host"))[1], ImageRegistry::http("host"));
    assert_eq!(errors(BoxliteError::Rpc("some words".into())).as_deref(), Some("some words \"some words\""));
    let missing = conversions("/nonexistent").unwrap_err();
    assert!(matches!(&missing, BoxliteError::Internal(text) if text.contains("I/O error")), "{missing}");
    assert!(matches!(conversions("/dev/null"), Err(BoxliteError::Internal(text)) if &*text == "empty"));
}
