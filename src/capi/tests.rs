//! The way in from C, the wait, and the progress reports, each against real futures on a real tokio runtime.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::argument::{Out, c_string, number, text, variable};
use super::call::*;
use super::error::*;
use super::guard::{Owner, enter};
use super::progress::*;
use super::runtime::grace_seconds;
use super::wait::{CutOff, Waiter};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::{self, Executor};
use crate::images::{Digest, ImageProgress, ImageStage, LayerProgress, ProgressSink};

fn executor() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("boxlite-test")
        .enable_all()
        .build()
        .unwrap()
}

/// A call as C makes it; freed at drop.
struct Call(*mut boxlite_call);

// SAFETY: a call serves any number of threads.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

impl Call {
    fn new(timeout_ms: i64) -> Self {
        let mut call = std::ptr::null_mut();
        // SAFETY: valid out-pointer; a NULL error is allowed.
        unsafe {
            assert_eq!(boxlite_call_new(&raw mut call, std::ptr::null_mut()), BOXLITE_OK);
            assert_eq!(boxlite_call_set_timeout_ms(call, timeout_ms, std::ptr::null_mut()), BOXLITE_OK);
        }
        Self(call)
    }

    fn get(&self) -> Option<&boxlite_call> {
        // SAFETY: live until drop.
        unsafe { self.0.as_ref() }
    }

    fn cancel(&self) {
        // SAFETY: live until drop.
        assert_eq!(unsafe { boxlite_call_cancel(self.0, std::ptr::null_mut()) }, BOXLITE_OK);
    }

    fn reset(&self) {
        // SAFETY: live until drop.
        assert_eq!(unsafe { boxlite_call_reset(self.0, std::ptr::null_mut()) }, BOXLITE_OK);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: made by `boxlite_call_new`, freed once.
        unsafe { boxlite_call_free(self.0) };
    }
}

/// Sets its flag when dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn every_code_has_its_constants_name() {
    for (variant, code) in BoxliteError::CODES {
        // SAFETY: a static string.
        let name = unsafe { CStr::from_ptr(boxlite_code_name(*code)) }.to_str().unwrap();
        let mut expected = String::from("BOXLITE");
        for letter in variant.chars() {
            if letter.is_ascii_uppercase() {
                expected.push('_');
            }
            expected.push(letter.to_ascii_uppercase());
        }
        assert_eq!(name, expected);
    }
    let last = BoxliteError::CODES.iter().map(|(_, code)| *code).max().unwrap();
    // SAFETY: static strings.
    let unknown = [-1, last + 1].map(|code| unsafe { CStr::from_ptr(boxlite_code_name(code)) });
    assert_eq!(unknown, [c"BOXLITE_UNKNOWN"; 2]);
}

#[test]
fn an_error_object_carries_what_is_known_and_success_clears_the_pointer() {
    let mut error: *mut boxlite_error = std::ptr::dangling_mut();
    let code = enter(&raw mut error, || {
        Err(BoxliteError::Execution(Detail::new("no \0 such").subject("cmd").errno(2).exit_code(127)))
    });
    assert_eq!(code, BOXLITE_EXECUTION);
    // SAFETY: just made by `enter`.
    unsafe {
        assert_eq!(boxlite_error_code(error), BOXLITE_EXECUTION);
        assert_eq!(CStr::from_ptr(boxlite_error_message(error)), c"execution error: no ? such");
        assert!(!CStr::from_ptr(boxlite_error_hint(error)).is_empty());
        assert_eq!(CStr::from_ptr(boxlite_error_subject(error)), c"cmd");
        assert_eq!((boxlite_error_os_errno(error), boxlite_error_exit_code(error)), (2, 127));
        boxlite_error_free(error);
    }
    assert_eq!(enter(&raw mut error, || Ok(())), BOXLITE_OK);
    assert!(error.is_null());
}

#[test]
fn a_panic_becomes_an_error_that_tells_where() {
    let mut error: *mut boxlite_error = std::ptr::null_mut();
    let code = enter(&raw mut error, || panic!("boom {}", 7));
    assert_eq!(code, BOXLITE_PANIC);
    // SAFETY: just made by `enter`.
    let message = unsafe { CStr::from_ptr(boxlite_error_message(error)) }.to_str().unwrap().to_owned();
    assert!(message.contains("boom 7") && message.contains("tests.rs"), "{message}");
    // SAFETY: made by `enter`, freed once.
    unsafe { boxlite_error_free(error) };
}

#[test]
fn a_panic_prints_nothing() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .args(["capi::tests::a_panic_becomes_an_error_that_tells_where"])
        .args(["capi::tests::a_panic_of_the_operation_reaches_the_caller"])
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("2 passed"), "{said}");
    assert!(!said.contains("panicked") && !said.contains("boom") && !said.contains("in the task"), "{said}");
}

/// Of operations that can't fail.
type Fine<T> = Result<T, Infallible>;

#[test]
fn a_panic_of_the_operation_reaches_the_caller() {
    let executor = executor();
    let mut refused: BoxliteResult<()> = Ok(());
    // From within a C call, as always: the first one sets the panic hook.
    enter(std::ptr::null_mut(), || {
        let waiter = Waiter::new("op", None, CutOff::Undo);
        refused = waiter
            .wait::<(), BoxliteError, _>(executor.handle(), |_| async { panic!("in the task") })
            .flatten();
        Ok(())
    });
    let is_told = |text: &str| text.contains("in the task") && text.contains("tests.rs");
    assert!(matches!(&refused, Err(BoxliteError::Panic(text)) if is_told(text)), "{refused:?}");
    // Most of an operation is done in tasks and threads of its own.
    let inner = Arc::new(Executor::start().unwrap());
    for blocking in [false, true] {
        enter(std::ptr::null_mut(), || {
            let inner = Arc::clone(&inner);
            refused = Waiter::new("op", None, CutOff::Undo)
                .wait(executor.handle(), |_| async move {
                    let work = async move {
                        if blocking {
                            return executor::blocking(|| panic!("in the task")).await;
                        }
                        panic!("in the task")
                    };
                    inner.run(work).await
                })
                .flatten();
            Ok(())
        });
        assert!(matches!(&refused, Err(BoxliteError::Panic(text)) if is_told(text)), "{refused:?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_offset() {
    let bad = CString::new(b"ab\xffcd".to_vec()).unwrap();
    // SAFETY: a C string.
    let error = unsafe { text(bad.as_ptr(), "name") }.unwrap_err();
    assert!(matches!(&error, BoxliteError::InvalidArgument(text) if text.contains("offset 2")), "{error}");
    assert_eq!(error.subject(), Some("name"));
    // SAFETY: NULL is looked for first.
    let error = unsafe { text(std::ptr::null(), "name") }.unwrap_err();
    assert!(matches!(&error, BoxliteError::InvalidArgument(text) if text.contains("NULL")), "{error}");
    for wrong in [c"", c"A=B"] {
        // SAFETY: a C string.
        assert!(unsafe { variable(wrong.as_ptr(), "name") }.is_err());
    }
    assert!(number::<u8>(256, 1..=255, "cpus").is_err() && number::<u8>(-1, 1..=255, "cpus").is_err());
    assert_eq!(c_string("a\0b").as_c_str(), c"a?b");
}

#[test]
fn an_out_handle_is_null_until_it_is_filled() {
    let mut place: *mut u8 = std::ptr::dangling_mut();
    // SAFETY: valid out-pointer.
    let out = unsafe { Out::new(&raw mut place, "out") }.unwrap();
    assert!(place.is_null());
    out.fill(7);
    // SAFETY: just filled, freed once.
    unsafe {
        assert_eq!(*place, 7);
        super::argument::free(place);
    }
}

#[test]
fn a_handle_of_another_process_is_known() {
    assert!(!Owner::current().is_other_process());
    assert!(Owner::process(std::process::id() + 1).is_other_process());
}

#[test]
fn grace_is_rounded_up_to_seconds() {
    let seconds = [0, 1, 1000, 1001, i64::MAX, -1, -2].map(grace_seconds);
    assert_eq!(seconds, [Some(0), Some(1), Some(1), Some(2), Some(i32::MAX), Some(-1), None]);
}

#[test]
fn a_deadline_undoes_what_was_begun() {
    let executor = executor();
    let (dropped, call) = (Arc::new(AtomicBool::new(false)), Call::new(100));
    let flag = Flag(dropped.clone());
    let start = Instant::now();
    let outcome: BoxliteResult<Fine<()>> =
        Waiter::new("op", call.get(), CutOff::Undo).wait(executor.handle(), |_| async move {
            let _flag = flag;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        });
    assert!(matches!(&outcome, Err(BoxliteError::Timeout(text)) if text.contains("op")), "{outcome:?}");
    assert!((Duration::from_millis(100)..Duration::from_secs(30)).contains(&start.elapsed()));
    assert!(dropped.load(Ordering::SeqCst), "the call returned before its operation was undone");
}

#[test]
fn what_is_left_behind_completes() {
    let executor = executor();
    let (ended, call) = (Arc::new(AtomicBool::new(false)), Call::new(60));
    let flag = ended.clone();
    let (allow, allowed) = tokio::sync::oneshot::channel();
    let outcome: BoxliteResult<Fine<()>> =
        Waiter::new("stop", call.get(), CutOff::Leave).wait(executor.handle(), |_| async move {
            allowed.await.unwrap();
            flag.store(true, Ordering::SeqCst);
            Ok(())
        });
    assert!(matches!(&outcome, Err(BoxliteError::Timeout(text)) if text.contains("goes on")), "{outcome:?}");
    assert!(!ended.load(Ordering::SeqCst));
    allow.send(()).expect("it goes on");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ended.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it does not come to its end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cancel_wakes_every_waiter_and_stays_until_it_is_reset() {
    let executor = executor();
    let call = Call::new(-1);
    let long = |_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Fine::Ok(())
    };
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| Waiter::new("op", call.get(), CutOff::Undo).wait(executor.handle(), long))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        call.cancel();
        for waiter in waiters {
            assert!(matches!(waiter.join().unwrap(), Err(BoxliteError::Cancelled(_))));
        }
    });
    let begun = Arc::new(AtomicBool::new(false));
    let flag = begun.clone();
    let waiter = Waiter::new("op", call.get(), CutOff::Undo);
    let again = waiter.wait(executor.handle(), |_| async move {
        flag.store(true, Ordering::SeqCst);
        Fine::Ok(())
    });
    assert!(matches!(again, Err(BoxliteError::Cancelled(_))));
    assert!(!begun.load(Ordering::SeqCst));
    call.reset();
    assert_eq!(waiter.wait(executor.handle(), |_| async { Fine::Ok(5) }), Ok(Ok(5)));
}

#[test]
fn an_operation_that_watches_the_call_has_the_last_word() {
    let executor = executor();
    let call = Call::new(-1);
    let (begun, has_begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            Waiter::new("exec", call.get(), CutOff::Answer).wait(
                executor.handle(),
                |mut control| async move {
                    begun.send(()).unwrap();
                    Fine::Ok(control.cancelled.wait_for(|cancelled| *cancelled).await.is_ok())
                },
            )
        });
        has_begun.recv().unwrap();
        call.cancel();
        assert_eq!(waiter.join().unwrap(), Ok(Ok(true)));
    });
}

#[test]
fn a_runtime_that_has_ended_is_told() {
    let executor = executor();
    let handle = executor.handle().clone();
    drop(executor);
    let outcome: BoxliteResult<Fine<()>> =
        Waiter::new("op", None, CutOff::Undo).wait(&handle, |_| async { Ok(()) });
    assert!(matches!(outcome, Err(BoxliteError::Stopped(_))), "{outcome:?}");
}

#[test]
fn a_call_works_inside_the_callers_own_async_runtime() {
    let ours = executor();
    let theirs = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = theirs.block_on(async {
        Waiter::new("op", None, CutOff::Undo).wait(ours.handle(), |_| async { Fine::Ok(3) })
    });
    assert_eq!(answer, Ok(Ok(3)));
}

/// What a progress callback was told.
#[derive(Default)]
struct Seen {
    count: AtomicU32,
    cancel_at: u32,
    last_done: AtomicU32,
    ended: AtomicBool,
    thread: Option<std::thread::ThreadId>,
}

unsafe extern "C" fn note(progress: *const boxlite_progress, user: *mut c_void) -> i32 {
    // SAFETY: `user` is the `Seen` of the test, which outlives the call; `progress` is lent by it.
    let (seen, stage, done) = unsafe {
        let done = boxlite_progress_layer_done_bytes(progress, 0);
        (&*user.cast::<Seen>(), CStr::from_ptr(boxlite_progress_stage(progress)), done)
    };
    assert_eq!(seen.thread, Some(std::thread::current().id()));
    seen.last_done.store(u32::try_from(done).unwrap(), Ordering::SeqCst);
    seen.ended.store(stage == c"done", Ordering::SeqCst);
    i32::from(seen.count.fetch_add(1, Ordering::SeqCst) + 1 == seen.cancel_at)
}

/// 500 events in half a second.
async fn pull(sink: ProgressSink) -> BoxliteResult<()> {
    for done in 1..=500 {
        sink.emit(&ImageProgress {
            reference: "image".into(),
            stage: ImageStage::Pulling,
            layer: Some(LayerProgress { digest: Digest::of(b"x"), done_bytes: done, total_bytes: 500 }),
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn watched(cancel_at: u32) -> (Seen, BoxliteResult<()>, Duration) {
    let executor = executor();
    let call = Call::new(-1);
    let seen = Seen { cancel_at, thread: Some(std::thread::current().id()), ..Seen::default() };
    let user = (&raw const seen).cast_mut().cast();
    // SAFETY: a live call; `seen` outlives the wait below.
    let code = unsafe { boxlite_call_set_progress(call.0, Some(note), user, std::ptr::null_mut()) };
    assert_eq!(code, BOXLITE_OK);
    let start = Instant::now();
    let outcome = Waiter::new("start", call.get(), CutOff::Undo)
        .with_progress()
        .wait(executor.handle(), |control| pull(control.sink))
        .flatten();
    (seen, outcome, start.elapsed())
}

#[test]
fn progress_is_told_at_most_twenty_times_a_second_and_once_at_the_end() {
    let (seen, outcome, took) = watched(u32::MAX);
    assert_eq!(outcome, Ok(()));
    let count = seen.count.load(Ordering::SeqCst);
    let most = u32::try_from(took.as_millis() / 50).unwrap() + 2;
    assert!((2..=most).contains(&count), "{count} reports in {took:?}");
    assert_eq!(seen.last_done.load(Ordering::SeqCst), 500);
    assert!(seen.ended.load(Ordering::SeqCst));
}

#[test]
fn a_callback_that_returns_non_zero_cancels_its_call() {
    let (seen, outcome, _) = watched(2);
    assert!(matches!(outcome, Err(BoxliteError::Cancelled(_))), "{outcome:?}");
    // The one that cancels, and the last.
    assert_eq!(seen.count.load(Ordering::SeqCst), 3);
    assert!(!seen.ended.load(Ordering::SeqCst));
}
