//! A small program against 0.9.7's documented usage: a script is given input, its output read line by line, its box
//! stopped, found again and removed.

use std::time::Duration;

use boxlite::litebox::BoxCommand;
use boxlite::runtime::options::{BoxOptions, BoxliteOptions, RootfsSpec};
use boxlite::runtime::types::BoxStatus;
use boxlite::{BoxliteError, BoxliteResult, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;

struct Sandbox {
    runtime: BoxliteRuntime,
    inner: LiteBox,
}

impl Sandbox {
    async fn open(options: BoxliteOptions, image: &str) -> BoxliteResult<Self> {
        let runtime = BoxliteRuntime::new(options)?;
        let options = BoxOptions {
            rootfs: RootfsSpec::Image(image.into()),
            env: vec![("GREETING".into(), "hello".into())],
            auto_remove: false,
            ..Default::default()
        };
        let (inner, created) = runtime.get_or_create(options, Some("worker".to_string())).await?;
        assert!(created);
        Ok(Self { runtime, inner })
    }

    /// Exit code, stdout and stderr of a script that reads `input`.
    async fn run(&self, script: &str, input: &[u8]) -> BoxliteResult<(i32, String, String)> {
        let command = BoxCommand::new("sh").args(["-c", script]).timeout(Duration::from_secs(60));
        let mut execution = self.inner.exec(command).await?;
        if let Some(mut stdin) = execution.stdin() {
            stdin.write_all(input).await?;
            stdin.close();
        }
        let mut stdout = execution.stdout().ok_or("no stdout")?;
        let mut stderr = execution.stderr().ok_or_else(|| BoxliteError::Internal("no stderr".into()))?;
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            while let Some(part) = stderr.next().await {
                text.push_str(&part);
            }
            text
        });
        let mut output = String::new();
        while let Some(part) = stdout.next().await {
            output.push_str(&part);
        }
        let result = execution.wait().await?;
        assert_eq!(result.success(), result.code() == 0);
        Ok((result.exit_code, output, errors.await.map_err(|error| error.to_string())?))
    }
}

async fn program(options: BoxliteOptions) -> BoxliteResult<()> {
    let sandbox = Sandbox::open(options, &busybox_image()).await?;
    let answer = sandbox.run("read name; echo $GREETING $name; echo oops >&2; exit 3", b"world\n").await?;
    assert_eq!(answer, (3, "hello world\n".into(), "oops\n".into()));

    let mut forever = sandbox.inner.exec(BoxCommand::new("sleep").arg("300")).await?;
    assert!(forever.stdout().is_some() && forever.stdout().is_none());
    let waiter = tokio::spawn({
        let forever = forever.clone();
        async move { forever.wait().await }
    });
    forever.kill().await?;
    assert_eq!(waiter.await.expect("a waiter")?.exit_code, -9);
    match sandbox.inner.exec(BoxCommand::new("no-such-command")).await {
        Err(BoxliteError::Execution(message)) => assert!(message.contains("no-such-command")),
        other => panic!("{other:?}"),
    }

    sandbox.inner.stop().await?;
    assert!(matches!(sandbox.inner.start().await, Err(BoxliteError::Stopped(_))));
    let boxes = sandbox.runtime.list_info().await?;
    assert_eq!((boxes.len(), boxes[0].status), (1, BoxStatus::Stopped));
    let again = sandbox.runtime.get(sandbox.inner.id().as_str()).await?.expect("the box");
    again.start().await?;
    assert!(again.info().status.is_active());
    sandbox.runtime.remove(again.id().as_str(), true).await?;
    sandbox.runtime.shutdown(None).await
}

#[tokio::test]
async fn a_program_written_for_0_9_runs() {
    let home = PerTestBoxHome::new();
    program(BoxliteOptions { home_dir: home.path.clone(), image_registries: Vec::new() }).await.unwrap();
}
