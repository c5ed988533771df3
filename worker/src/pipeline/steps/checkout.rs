//! The commit's files into the deployment's folder.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::deployments::{Described, deployment_describe};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use crate::checkout::{self, Limits, Request, Want};
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;

/// Of a commit's message, in characters, as the record keeps it.
const MESSAGE_LONGEST: usize = 1_000;

pub(in crate::pipeline) struct Checkout;

#[async_trait]
impl Step for Checkout {
    const NAME: &'static str = "checkout";
    type Output = checkout::Checkout;

    fn deadline(&self, run: &Run) -> Duration {
        // Of its own limit and of writing the files.
        run.tools.config.checkout.deadline + Duration::from_secs(300)
    }

    async fn usable(&self, run: &Run, output: &Self::Output) -> Result<bool, Stop> {
        Ok(run.workspace.commit().await.as_deref() == Some(output.commit.as_str()))
    }

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop> {
        let config = &run.tools.config.checkout;
        let known_hosts = match &config.known_hosts {
            None => None,
            Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(|error| {
                Error::new(
                    Code::HostKeyRefused,
                    "the worker cannot read the file that DEPLOYMIND_SSH_KNOWN_HOSTS names",
                )
                .because(error)
            })?),
        };
        let branch = Some(run.plan.app.branch.clone());
        let request = Request {
            repository: run.plan.app.repository.clone(),
            want: match &run.plan.commit {
                // Also when a run before this one found out what the branch's newest commit was: it stays that one.
                Some(commit) => Want::Commit { sha: commit.clone(), branch },
                None => Want::Branch(run.plan.app.branch.clone()),
            },
            credential: run.secrets.git.clone(),
            known_hosts,
            private: run.workspace.file("git"),
            limits: Limits {
                bytes: config.max_bytes,
                files: config.max_files,
                fetch_deadline: config.deadline,
                ..Limits::default()
            },
            allow_local: config.allow_local,
        };
        run.workspace.remove().await?;
        run.workspace.create().await?;
        let tree = run.workspace.tree();
        let mut done = Box::pin(checkout::checkout(&request, &tree, &run.lines, cancel)).await?;
        // Cut last: half a value is not recognised.
        let shown: String = run.redactor.redact_text(&done.message).chars().take(MESSAGE_LONGEST).collect();
        done.message = shown;
        done.author = run.redactor.redact_text(&done.author).into_owned();
        let described = Described {
            commit: done.commit.clone(),
            branch: done.branch.clone(),
            message: done.message.clone(),
            author: done.author.clone(),
        };
        deployment_describe(run.context.db(), run.context.id(), run.context.attempt(), &described).await?;
        run.workspace.seal(&done.commit).await?;
        Ok(done)
    }
}
