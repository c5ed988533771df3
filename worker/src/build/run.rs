//! One build, from the look at the tree to the image's record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::buildkit::BuildKit;
use super::classic::Classic;
use super::context::{self, Context, size_text};
use super::engine::Engine;
use super::failure::{Failure, unexpected};
use super::http::{self, Cause};
use super::message::{Message, Messages};
use super::output::{Output, cut};
use super::parameters::query;
use super::request::{Builder, Built, Caps, Dockerfile, Layer, Limits, Request, UsedBuilder};
use super::session::Session;
use super::{failure, room, tarball};
use crate::log::Lines;

/// How long the engine may take to hear that a build is not wanted any more.
const FAREWELL: Duration = Duration::from_secs(3);
const ERROR_BYTES: usize = 64 * 1024;
/// Why one builder did not do it.
enum Miss {
    /// Nothing was built: the other builder may try.
    NotStarted(Cause),
    Stop(Stop),
}

impl From<Stop> for Miss {
    fn from(stop: Stop) -> Self {
        Miss::Stop(stop)
    }
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Miss::Stop(error.into())
    }
}

/// Builds an image. It carries the request's tag and labels; its cache stays in the engine.
///
/// # Errors
/// `BuildFailed`, `BuildMemory`, `BuildDeadline`, `BaseImageMissing`, `DockerfileInvalid`, `ContextTooLarge`, `TreeEscapes`,
/// `SettingsInvalid` end the work; `EngineUnavailable`, `DiskFull`, `WorkspaceFailed` may work later.
pub async fn build(
    engine: &Engine,
    request: &Request<'_>,
    lines: &Lines,
    cancel: &CancellationToken,
) -> Result<Built, Stop> {
    let id = uuid::Uuid::new_v4().to_string();
    let work = tokio::time::timeout(request.limits.deadline, Box::pin(run(engine, request, &id, lines)));
    let stop = tokio::select! {
        biased;
        () = cancel.cancelled() => Stop::Cancelled,
        done = work => match done {
            Ok(done) => return done,
            Err(_late) => Stop::terminal(
                Code::BuildDeadline,
                format!(
                    "the build ran longer than the {} s it may and was stopped; see in the log which step does not end, or raise the limit",
                    request.limits.deadline.as_secs()
                ),
            ),
        },
    };
    // The connections are closed by now, which ends the step that ran; BuildKit is told by name as well.
    farewell(engine, &id).await;
    Err(stop)
}

async fn farewell(engine: &Engine, id: &str) {
    if let Ok(request) = http::post(engine, &format!("/build/cancel?id={id}")).body(http::empty()) {
        // An engine that does not hear it has closed the build with the connection.
        let _heard = tokio::time::timeout(FAREWELL, http::exchange(engine, request)).await.is_ok();
    }
}

async fn run(engine: &Engine, request: &Request<'_>, id: &str, lines: &Lines) -> Result<Built, Stop> {
    let started = Instant::now();
    let (builder, why) = choose(engine, request.builder, &request.limits)?;
    if let Some(why) = why {
        lines.info(why).await;
    }
    let first = match builder {
        UsedBuilder::BuildKit => with_buildkit(engine, request, id, lines).await,
        UsedBuilder::Classic => with_classic(engine, request, id, lines).await,
    };
    let (builder, done) = match first {
        Ok(done) => (builder, done),
        Err(Miss::Stop(stop)) => return Err(stop),
        Err(Miss::NotStarted(cause))
            if builder == UsedBuilder::BuildKit && request.builder == Builder::Auto =>
        {
            engine.ping().await?;
            tracing::warn!(error = %cause, "buildkit session did not start");
            lines.warn("BuildKit did not start on this engine; the classic builder is used").await;
            match with_classic(engine, request, id, lines).await {
                Ok(done) => (UsedBuilder::Classic, done),
                Err(Miss::Stop(stop)) => return Err(stop),
                Err(Miss::NotStarted(cause)) => return Err(engine.gone(cause)),
            }
        }
        Err(Miss::NotStarted(cause)) => {
            engine.ping().await?;
            return Err(unexpected(cause, "start build"));
        }
    };
    let (size_bytes, layers) = measure(engine, &done.image_id).await?;
    Ok(Built {
        builder,
        image_id: done.image_id,
        size_bytes,
        layers,
        duration: started.elapsed(),
        warnings: done.warnings,
        cached_steps: done.cached_steps,
        context_bytes: done.context_bytes,
    })
}

/// Which builder, and what the log should say of the choice.
///
/// # Errors
/// `SettingsInvalid` when the builder that is asked for cannot be had as it is asked for.
pub fn choose(
    engine: &Engine,
    builder: Builder,
    limits: &Limits,
) -> Result<(UsedBuilder, Option<String>), Stop> {
    let capped = limits.cgroup_parent.is_some() && engine.buildkit_obeys_cgroup();
    let uncapped = || {
        Some(format!(
            "BuildKit runs without the caps of {} memory and {} processors: this engine does not apply them to it",
            size_text(limits.memory_bytes),
            limits.cpus
        ))
    };
    let have = engine.has_buildkit();
    Ok(match (builder, limits.caps) {
        (Builder::Classic, _) => (UsedBuilder::Classic, None),
        (Builder::BuildKit, _) if !have => {
            return Err(Stop::terminal(
                Code::SettingsInvalid,
                "DEPLOYMIND_BUILDER asks for BuildKit and the engine has none; set it to `auto`, or use a newer engine",
            ));
        }
        (Builder::BuildKit, Caps::Require) if !capped => {
            return Err(Stop::terminal(
                Code::SettingsInvalid,
                "DEPLOYMIND_BUILDER asks for BuildKit, whose steps this engine cannot cap, and caps are required; set it to `auto`, or give up the caps with DEPLOYMIND_BUILD_REQUIRE_CAPS=false",
            ));
        }
        (Builder::Auto, Caps::Require) if have && !capped => (
            UsedBuilder::Classic,
            Some("the classic builder is used: caps on memory and CPU are required, and BuildKit does not obey them here".to_owned()),
        ),
        (Builder::Auto, _) if !have => (UsedBuilder::Classic, None),
        (Builder::Auto | Builder::BuildKit, _) if capped => (UsedBuilder::BuildKit, None),
        (Builder::Auto | Builder::BuildKit, _) => (UsedBuilder::BuildKit, uncapped()),
    })
}

/// What a builder leaves.
struct Done {
    image_id: String,
    warnings: Vec<String>,
    cached_steps: u32,
    context_bytes: u64,
}

async fn with_classic(engine: &Engine, request: &Request<'_>, id: &str, lines: &Lines) -> Result<Done, Miss> {
    let mut output = Output::new(lines);
    let context = prepare(engine, request, UsedBuilder::Classic, &mut output).await?;
    let context_bytes = context.bytes;
    let query = query(request, &context, UsedBuilder::Classic, id, &mut output).await;
    let (messages, writer) = send(engine, &query, context).await?;
    let mut messages = match messages {
        Sent::Streaming(messages) => messages,
        Sent::Refused(failure) => return Err(judged(engine, request, &output, failure).await.into()),
    };
    let mut classic = Classic::new(Arc::clone(&request.redactor));
    while let Some(message) = next(engine, &mut messages).await? {
        classic.hear(&message, &mut output).await;
        if let Some(failure) = failed(message) {
            classic.finish(&mut output).await;
            return Err(judged(engine, request, &output, failure).await.into());
        }
    }
    classic.finish(&mut output).await;
    writer.finish().await?;
    done(engine, output, context_bytes)
}

async fn with_buildkit(
    engine: &Engine,
    request: &Request<'_>,
    id: &str,
    lines: &Lines,
) -> Result<Done, Miss> {
    let mut output = Output::new(lines);
    let context = prepare(engine, request, UsedBuilder::BuildKit, &mut output).await?;
    let context_bytes = context.bytes;
    let secrets: HashMap<String, SecretString> = request
        .variables
        .iter()
        .filter(|variable| variable.secret)
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let session = Session::open(engine, id, secrets).await.map_err(Miss::NotStarted)?;
    let query = query(request, &context, UsedBuilder::BuildKit, id, &mut output).await;
    let conversation = async {
        let (messages, writer) = send(engine, &query, context).await?;
        let mut messages = match messages {
            Sent::Streaming(messages) => messages,
            Sent::Refused(failure) if failure.status.is_some_and(|status| status >= 500) => {
                return Err(Miss::NotStarted(failure.message.into()));
            }
            Sent::Refused(failure) => return Err(judged(engine, request, &output, failure).await.into()),
        };
        let mut buildkit = BuildKit::new(Arc::clone(&request.redactor));
        while let Some(message) = next(engine, &mut messages).await? {
            buildkit
                .hear(&message, &mut output)
                .await
                .map_err(|error| unexpected(error, "read build status"))?;
            if let Some(failure) = failed(message) {
                return Err(judged(engine, request, &output, failure).await.into());
            }
        }
        writer.finish().await?;
        done(engine, output, context_bytes)
    };
    let mut session = std::pin::pin!(session.serve());
    let mut conversation = std::pin::pin!(conversation);
    tokio::select! {
        biased;
        done = &mut conversation => return done,
        ended = &mut session => {
            if let Err(error) = ended {
                tracing::debug!(error, "buildkit session ended early");
            }
        }
    }
    conversation.await
}

fn done(engine: &Engine, output: Output<'_>, context_bytes: u64) -> Result<Done, Miss> {
    match output.image_id {
        Some(image_id) => {
            Ok(Done { image_id, warnings: output.warnings, cached_steps: output.cached_steps, context_bytes })
        }
        // An engine that ends says neither yes nor no.
        None => Err(engine.gone("the build's stream ended without a result").into()),
    }
}

/// Looks at the tree and the disk.
async fn prepare(
    engine: &Engine,
    request: &Request<'_>,
    builder: UsedBuilder,
    output: &mut Output<'_>,
) -> Result<Context, Stop> {
    let root = request.context.to_owned();
    let limit = request.limits.context_bytes;
    let (path, generated) = match request.dockerfile {
        Dockerfile::InTree(path) => (path.to_owned(), None),
        Dockerfile::Generated { dockerfile, dockerignore } => {
            (dockerfile.to_owned(), Some(dockerignore.to_owned()))
        }
    };
    let survey = tokio::task::spawn_blocking(move || {
        let dockerfile = match &generated {
            None => Dockerfile::InTree(&path),
            Some(dockerignore) => Dockerfile::Generated { dockerfile: &path, dockerignore },
        };
        context::survey(&root, dockerfile, builder, limit)
    });
    let mut context = survey.await.map_err(|panicked| {
        Error::new(Code::JobPanicked, "the look at the tree panicked").because(panicked)
    })??;
    room::check(engine, context.bytes, request.limits.min_free_disk).await?;
    for warning in std::mem::take(&mut context.warnings) {
        output.warn(warning).await;
    }
    output.say(format!("sending {} files, {}", context.items.len(), size_text(context.bytes))).await;
    Ok(context)
}

enum Sent {
    Streaming(Messages),
    Refused(Failure),
}

async fn send(engine: &Engine, query: &str, context: Context) -> Result<(Sent, tarball::Writer), Miss> {
    let (stream, writer) = tarball::stream(context);
    let request = http::post(engine, &format!("/build?{query}"))
        .header("Content-Type", "application/x-tar")
        .body(http::streamed(stream))
        .map_err(|error| unexpected(error, "ask for build"))?;
    match http::exchange(engine, request).await {
        Ok(mut answer) if answer.status() != 200 => {
            let text = answer.text(ERROR_BYTES).await.map_err(|error| engine.gone(error))?;
            let message = serde_json::from_slice::<serde_json::Value>(&text)
                .ok()
                .and_then(|json| Some(json.get("message")?.as_str()?.to_owned()))
                .unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
            let failure = Failure { status: Some(answer.status()), message, ..Failure::default() };
            Ok((Sent::Refused(failure), writer))
        }
        Ok(answer) => Ok((Sent::Streaming(Messages::new(answer)), writer)),
        // The tree's own trouble breaks the request off, and explains more than the broken request.
        Err(cause) => match writer.finish().await {
            Err(error) if error.code() != Code::EngineUnavailable => Err(error.into()),
            _ => Err(engine.gone(cause).into()),
        },
    }
}

async fn next(engine: &Engine, messages: &mut Messages) -> Result<Option<Message>, Stop> {
    messages.next().await.map_err(|cause| match cause.downcast_ref::<serde_json::Error>() {
        Some(_) => unexpected(cause, "read build stream"),
        None => engine.gone(cause),
    })
}

fn failed(message: Message) -> Option<Failure> {
    let Message { error, detail, .. } = message;
    if error.is_none() && detail.is_none() {
        return None;
    }
    let detail = detail.unwrap_or_default();
    let message = detail.message.or(error).unwrap_or_default();
    Some(Failure { code: detail.code, message, ..Failure::default() })
}

async fn judged(engine: &Engine, request: &Request<'_>, output: &Output<'_>, failure: Failure) -> Stop {
    // An error is stored and shown as it is.
    let hide = |text: &str| request.redactor.redact_text(text).into_owned();
    let failure = Failure {
        message: hide(&failure.message),
        instruction: output.instruction.as_deref().map(|text| cut(&hide(text))),
        tail: output.tail().map(|line| cut(&hide(line))).collect(),
        memory: Some(size_text(request.limits.memory_bytes)),
        ..failure
    };
    if failure.step_lacks_room()
        && let Err(full) = room::check(engine, 0, request.limits.min_free_disk).await
    {
        return full;
    }
    failure.judge().into()
}

async fn measure(engine: &Engine, image: &str) -> Result<(u64, Vec<Layer>), Stop> {
    let inspected = engine
        .docker
        .inspect_image(image)
        .await
        .map_err(|error| failure::of_call(engine, error, "inspect built image"))?;
    let history = engine
        .docker
        .image_history(image)
        .await
        .map_err(|error| failure::of_call(engine, error, "read image history"))?;
    let bytes = |size: i64| u64::try_from(size).unwrap_or(0);
    let layers = history
        .into_iter()
        .rev()
        .map(|layer| Layer { created_by: layer.created_by, size_bytes: bytes(layer.size) })
        .collect();
    Ok((bytes(inspected.size.unwrap_or(0)), layers))
}
