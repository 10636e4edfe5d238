//! Many commands, and what they have left in this process.

use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunOptions};

use crate::answer::Answer;
use crate::driver::Driver;
use crate::request::Request;

impl Driver {
    pub(crate) async fn rounds(&self, request: &Request, answer: &mut Answer) {
        let mut failed = 0;
        for _ in 0..request.number("count", 0) {
            let (_keep, cancelled) = tokio::sync::watch::channel(false);
            let control = RunControl { deadline: None, cancelled };
            let none = ProgressSink::none();
            let run = self.sandbox.run(request.command(), RunOptions::default(), &none, control);
            failed += i32::from(run.await.expect("a command").exit.exit_code != 0);
        }
        answer.tell("failed", failed);
    }
}

pub(crate) fn measure(answer: &mut Answer) {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let entries = |dir| std::fs::read_dir(dir).expect("/proc").count();
    answer.tell("descriptors", entries("/proc/self/fd"));
    answer.tell("threads", entries("/proc/self/task"));
    answer.tell("resident_kib", resident);
}
