//! What each op is: itself, where one call does it.

use std::path::PathBuf;

use boxlite::images::ProgressSink;
use boxlite::runtime::options::ImageRegistry;
use boxlite::{BoxOptions, BoxliteRuntime, CopyOptions, LiteBox, RootfsSpec};

use crate::answer::{Answer, write_file};
use crate::leaks;
use crate::request::Request;

pub(crate) struct Driver {
    pub(crate) runtime: BoxliteRuntime,
    /// The one named `shared`.
    pub(crate) sandbox: LiteBox,
}

impl Driver {
    pub(crate) async fn open(home: String, image: &str, registry: String) -> Self {
        let runtime = BoxliteRuntime::builder()
            .home_dir(home)
            .image_registries(vec![ImageRegistry::http(registry)])
            .build()
            .expect("a runtime");
        let sandbox =
            runtime.create(options(image, 256), Some("shared".to_owned())).await.expect("the shared box");
        Self { runtime, sandbox }
    }

    pub(crate) async fn shut_down(self) {
        self.runtime.shutdown(Some(5)).await.expect("a shutdown");
    }

    pub(crate) async fn perform(&mut self, request: &Request) -> Answer {
        let mut answer = Answer::default();
        let a = &mut answer;
        let sandbox = self.sandbox.clone();
        match request.op.as_str() {
            "run" => self.run(request, a).await,
            "stream" => self.stream(request, a).await,
            "untaken" => self.untaken(request, a).await,
            "attach" => self.attach(request, a).await,
            "start" => self.start(request, a).await,
            "create" => {
                let memory = u32::try_from(request.number("memory_mib", 256)).expect("a size");
                let options = options(request.text("image"), memory);
                a.note("error", self.runtime.create(options, Some(request.text("name").to_owned())).await);
            }
            "get" => {
                // What other languages call BOXLITE_NOT_FOUND is None here.
                if let Some(None) = a.note("error", self.runtime.get(request.text("name")).await) {
                    a.tell("error", "BOXLITE_NOT_FOUND");
                }
            }
            "remove" => {
                let force = request.number("force", 0) != 0;
                a.note("error", self.runtime.remove(request.text("name"), force).await);
            }
            "copy_in" | "copy_out" => {
                let mut options = CopyOptions::new();
                options.overwrite = request.number("overwrite", 1) != 0;
                let (host, guest) = (PathBuf::from(request.os("host")), request.os("box"));
                let none = ProgressSink::none();
                let copied = if request.op == "copy_in" {
                    sandbox.copy_in(host, guest, options, none).await
                } else {
                    sandbox.copy_from(guest, host, options, none).await
                };
                a.note("error", copied);
            }
            "read_file" => {
                let (path, most) = (request.os("box"), request.number("max", 1 << 20));
                if let Some(content) =
                    a.note("error", sandbox.read_file(path, most, ProgressSink::none()).await)
                {
                    write_file(request.os("out"), content);
                }
            }
            "write_file" => {
                let (path, none) = (request.os("box"), ProgressSink::none());
                a.note("error", sandbox.write_file(path, request.input(), 0o644, none).await);
            }
            "stop" => drop(a.note("error", sandbox.stop().await)),
            "reopen" => {
                self.sandbox =
                    self.runtime.get(sandbox.id().as_str()).await.expect("the home").expect("the box");
            }
            "rounds" => self.rounds(request, a).await,
            "measure" => leaks::measure(a),
            op => a.tell("unknown", op),
        }
        answer
    }

    pub(crate) fn kill_shim(&self) {
        let pid = self.sandbox.info().pid.and_then(|pid| i32::try_from(pid).ok()).expect("a box that runs");
        // SAFETY: kill has no effect on memory.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

pub(crate) fn options(image: &str, memory_mib: u32) -> BoxOptions {
    let rootfs = RootfsSpec::Image(image.to_owned());
    // Kept when it stops, as it is by default in the other languages.
    BoxOptions { rootfs, memory_mib: Some(memory_mib), auto_remove: false, ..BoxOptions::default() }
}
