//! Commands whose streams are taken: as they come, when nobody took them, by another one who attaches.

use boxlite::litebox::{OutputMode, StdinMode};

use crate::answer::Answer;
use crate::driver::Driver;
use crate::reader::Reader;
use crate::request::Request;

impl Driver {
    pub(crate) async fn stream(&self, request: &Request, answer: &mut Answer) {
        let command = request.command().stdout_mode(OutputMode::Pipe);
        let tty = request.has("tty");
        let command = if tty { command } else { command.stderr_mode(OutputMode::Pipe) };
        let Some(mut execution) = answer.note("error", self.sandbox.exec(command).await) else { return };
        let mut stdin = execution.stdin().expect("stdin");
        let mut out = Reader::new(execution.stdout().expect("stdout").bytes(), request.os("out"));
        let mut err = execution.stderr().map(|stderr| Reader::new(stderr.bytes(), request.os("err")));
        let input = request.input();
        let (until, shim_after) =
            (request.bytes("until").unwrap_or_default(), request.number("shim_after", 0));
        out.read_while(|out| !out.has(until) && out.cut.is_none()).await;
        out.read_while(|out| out.received < shim_after && out.cut.is_none()).await;
        if shim_after != 0 {
            self.kill_shim();
        }
        if request.has("resize") {
            let (rows, cols) = request.pair("resize");
            answer.note("resize", execution.resize_tty(rows.into(), cols.into()).await);
        }
        if tty {
            answer.note("typed", stdin.write_all(request.bytes("type").unwrap_or_default()).await);
        }
        if request.has("signal") {
            let signal = i32::try_from(request.number("signal", 0)).expect("a signal");
            answer.note("sent", execution.signal(signal).await);
        }
        if request.has("kill") {
            answer.note("sent", execution.kill().await);
        }
        let feed = async {
            if !tty {
                // A command that reads no more is no failure of the row.
                let _ = stdin.write_all(&input).await;
                stdin.close();
            }
        };
        let drain = async {
            if let Some(err) = &mut err {
                err.read_while(|_| true).await;
            }
        };
        tokio::join!(feed, drain, out.read_while(|_| true));
        if let Some(err) = err {
            err.finish(answer, "stderr");
        }
        out.finish(answer, "stdout");
        answer.tell_wait(&execution).await;
    }

    /// Lets a command write what nobody takes, waits, and takes what is left.
    pub(crate) async fn untaken(&self, request: &Request, answer: &mut Answer) {
        let command = request.command().stdin_mode(StdinMode::Null);
        let mut execution = self.sandbox.exec(command).await.expect("a command");
        answer.tell_wait(&execution).await;
        let state = execution.stream_state(false).await.expect("a state");
        answer.tell("total", state.total);
        answer.tell("dropped", state.dropped);
        answer.tell("closed", state.closed);
        let mut out = Reader::new(execution.stdout().expect("stdout").bytes(), request.os("out"));
        out.read_while(|_| true).await;
        out.finish(answer, "stdout");
    }

    /// One starts a command and talks to it, another takes it up by its id and talks on.
    pub(crate) async fn attach(&self, request: &Request, answer: &mut Answer) {
        let command = request.command().stdin_mode(StdinMode::Keep).stdout_mode(OutputMode::Pipe);
        let (first, second) =
            (request.bytes("first").unwrap_or_default(), request.bytes("second").unwrap_or_default());
        let mut execution = self.sandbox.exec(command).await.expect("a command");
        let mut old_stdin = execution.stdin().expect("stdin");
        let mut old = Reader::new(execution.stdout().expect("stdout").bytes(), request.os("err"));
        old_stdin.write_all(first).await.expect("a reader");
        let offset = request.number("offset", 0);
        old.read_while(|old| old.received < offset).await;
        // Kept: losing the connection is no end.
        drop(old_stdin);

        let again = self.runtime.get(self.sandbox.id().as_str()).await.expect("the home").expect("the box");
        let mut attached = again.attach(execution.id()).await.expect("the command");
        let mut stdin = attached.stdin().expect("stdin");
        // The new reader's first read takes the stream over, which ends the old one's.
        let mut new = Reader::new(attached.stdout().expect("stdout").bytes(), request.os("out"));
        old.read_while(|_| true).await;
        old.finish(answer, "taken_over");
        stdin.write_all(second).await.expect("a reader");
        attached.close_stdin((first.len() + second.len()) as u64).await.expect("a word to the box");
        new.read_while(|_| true).await;
        new.finish(answer, "stdout");
        answer.tell_wait(&attached).await;
    }
}
