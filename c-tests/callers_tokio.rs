//! Calls from inside a caller's tokio: everything, Rust and C, in a current-thread runtime and in a multi-thread one:
//! opened there, used, dropped and shut down there. A part of the library that blocked on, or ran on, the caller's
//! runtime would panic or stand still here.

use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use boxlite::capi::*;
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use futures::StreamExt;

/// How long a box may outlive its runtime.
const GONE: Duration = Duration::from_secs(60);

fn main() {
    let image = std::env::var("BOXLITE_TEST_IMAGE").expect("run this by ctest");
    let current = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let multi = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime")
    };
    for caller in [current(), multi()] {
        let dir = tempfile::tempdir().expect("a directory");
        caller.block_on(async {
            shut_down_inside(&open(dir.path()), &image).await;
            dropped_inside(dir.path(), &image).await;
            c_calls_inside(dir.path(), &image).await;
        });
        // And in a task, which is dropped with what it holds when its runtime is.
        let (tell, told) = tokio::sync::oneshot::channel();
        let (home, image) = (dir.path().to_owned(), image.clone());
        caller.spawn(async move {
            let runtime = open(&home);
            let sandbox = create(&runtime, &image).await;
            assert_eq!(output(&sandbox, "echo task").await, "task\n");
            tell.send(sandbox.id().to_string()).expect("the test listens");
            std::future::pending::<()>().await;
        });
        let id = caller.block_on(told).expect("an id");
        assert!(processes_with(&id) > 0);
        drop(caller);
        wait_until_gone(&id);
    }
}

fn open(home: &Path) -> BoxliteRuntime {
    let options = BoxliteOptions { home_dir: home.to_owned(), image_registries: Vec::new() };
    BoxliteRuntime::new(options).expect("a home")
}

async fn create(runtime: &BoxliteRuntime, image: &str) -> LiteBox {
    let rootfs = RootfsSpec::Image(image.to_owned());
    let options = BoxOptions { rootfs, memory_mib: Some(256), ..BoxOptions::default() };
    runtime.create(options, None).await.expect("a box")
}

async fn output(sandbox: &LiteBox, script: &str) -> String {
    let mut execution = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.expect("a command");
    let text: String = execution.stdout().expect("stdout").collect().await;
    assert_eq!(execution.wait().await.expect("its end").exit_code, 0);
    text
}

/// While boxes start and commands run, the caller's other tasks do, too.
async fn shut_down_inside(runtime: &BoxliteRuntime, image: &str) {
    let sandbox = create(runtime, image).await;
    let mut turns = 0;
    let busy = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            turns += 1;
        }
    };
    tokio::select! {
        never = busy => never,
        text = output(&sandbox, "sleep 1; echo out") => assert_eq!(text, "out\n"),
    }
    assert!(turns > 20, "the caller's runtime stood still: {turns} turns");
    let ended_by_shutdown = sandbox.exec(BoxCommand::new("sleep").arg("300")).await.expect("a command");
    let waiter = tokio::spawn(async move { ended_by_shutdown.wait().await });
    let (first, second) = tokio::join!(runtime.shutdown(Some(5)), runtime.shutdown(Some(5)));
    first.and(second).expect("a shutdown");
    assert_eq!(processes_with(sandbox.id().as_str()), 0);
    let end = tokio::time::timeout(Duration::from_secs(5), waiter).await.expect("the wait ends");
    assert_ne!(end.expect("a task").map_or(-1, |result| result.exit_code), 0);
}

async fn dropped_inside(home: &Path, image: &str) {
    let runtime = open(home);
    let sandbox = create(&runtime, image).await;
    assert_eq!(output(&sandbox, "echo out").await, "out\n");
    let id = sandbox.id().to_string();
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < Duration::from_secs(2), "a drop holds its caller up: {:?}", began.elapsed());
    drop(sandbox);
    wait_until_gone(&id);
}

/// The C functions block the thread they are called on, and with a current-thread runtime all of it; what was begun
/// before goes on meanwhile, since it runs on the library's own threads.
async fn c_calls_inside(home: &Path, image: &str) {
    let runtime = open(home);
    let sandbox = create(&runtime, image).await;
    sandbox.start().await.expect("a start");
    let begun =
        sandbox.exec(BoxCommand::new("sh").args(["-c", "sleep 0.2; exit 4"])).await.expect("a command");
    c_calls(home, image);
    assert_eq!(begun.wait().await.expect("the end").exit_code, 4);
    runtime.shutdown(Some(5)).await.expect("a shutdown");
}

fn c_calls(home: &Path, image: &str) {
    let home = CString::new(home.as_os_str().as_bytes()).expect("a path");
    let image = CString::new(image).expect("an image");
    let (mut options, mut runtime, mut box_options) = (null_mut(), null_mut(), null_mut());
    let (mut sandbox, mut command, mut result, mut error) = (null_mut(), null_mut(), null_mut(), null_mut());
    // SAFETY: strings outlive their calls, handles are what the calls before gave, each is freed once, and out-pointers
    // point to locals.
    unsafe {
        ok(boxlite_runtime_options_new(&mut options, &mut error), error);
        ok(boxlite_runtime_options_set_home_dir(options, home.as_ptr(), &mut error), error);
        ok(boxlite_runtime_new(options, &mut runtime, &mut error), error);
        ok(boxlite_box_options_new(&mut box_options, &mut error), error);
        ok(boxlite_box_options_set_image(box_options, image.as_ptr(), &mut error), error);
        ok(boxlite_create(runtime, box_options, null(), null_mut(), &mut sandbox, &mut error), error);
        ok(boxlite_command_new(c"cat".as_ptr(), &mut command, &mut error), error);
        ok(boxlite_command_add_arg(command, c"/etc/hostname".as_ptr(), &mut error), error);
        ok(boxlite_exec(sandbox, command, null_mut(), &mut result, &mut error), error);
        let id = CStr::from_ptr(boxlite_box_id(sandbox)).to_str().expect("an id").to_owned();
        let stdout = CStr::from_ptr(boxlite_exec_result_stdout(result)).to_str().expect("text").to_owned();
        assert_eq!((boxlite_exec_result_exit_code(result), stdout.trim()), (0, id.as_str()));
        ok(boxlite_runtime_shutdown(runtime, 5000, null_mut(), &mut error), error);
        assert_eq!(processes_with(&id), 0);
        boxlite_exec_result_free(result);
        boxlite_command_free(command);
        boxlite_box_free(sandbox);
        boxlite_box_options_free(box_options);
        boxlite_runtime_free(runtime);
        boxlite_runtime_options_free(options);
    }
}

fn ok(code: impl PartialEq<i32> + Debug, error: *mut boxlite_error) {
    // SAFETY: the error of the call just made, or NULL.
    let message = || unsafe { CStr::from_ptr(boxlite_error_message(error)) };
    assert!(code == 0, "{code:?}: {:?}", message());
}

/// How many processes have `text` in their argv.
fn processes_with(text: &str) -> usize {
    let has = |entry: &std::fs::DirEntry| {
        let argv = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        argv.windows(text.len()).any(|window| window == text.as_bytes())
    };
    std::fs::read_dir("/proc").expect("/proc").flatten().filter(has).count()
}

fn wait_until_gone(id: &str) {
    let began = Instant::now();
    while processes_with(id) > 0 {
        assert!(began.elapsed() < GONE, "box {id} outlives its runtime");
        std::thread::sleep(Duration::from_millis(20));
    }
}
