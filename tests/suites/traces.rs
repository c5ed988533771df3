//! Enqueue and work are one trace, across processes.

use std::time::Duration;

use deploymind_shared::config::{LogFormat, TelemetryConfig};
use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::jobs::{NewJob, Placement, job_insert};
use deploymind_shared::domain::job::{Priority, Probe};
use deploymind_shared::fleet::JobRequest;
use deploymind_shared::ids::JobId;
use deploymind_shared::queue::line::enqueue;
use deploymind_shared::telemetry::{self, TraceContext};
use deploymind_tests::otlp::OtlpCollector;
use deploymind_tests::rig::{Rig, production, request};
use deploymind_tests::script::{Script, Step};
use tracing::Instrument as _;

use crate::record::{app, user};

const SOON: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn the_work_is_a_child_of_the_span_that_enqueued_it() {
    let collector = OtlpCollector::start().await;
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(2).set("DEPLOYMIND_OTLP_ENDPOINT", collector.endpoint()).ready().await;
    // As a gateway's request would have left it in the record.
    let wish = request(&Script::new([Step::RetryUntil { attempt: 2 }]));
    let new = NewJob {
        id: JobId::generate(),
        kind: wish.kind,
        environment: wish.environment.clone(),
        priority: wish.priority,
        payload: wish.payload,
        targets: Vec::new(),
        delay: Duration::ZERO,
        trace: Some(TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).expect("well-formed")),
    };
    let job = new.id;
    for answer in job_insert(&rig.fleet.db, &[new]).await.expect("recorded") {
        answer.expect("accepted");
    }
    let placement = Placement {
        job,
        environment: wish.environment,
        priority: wish.priority,
        targets: Vec::new(),
        delay: Duration::ZERO,
    };
    enqueue(&rig.fleet.queue, &[placement]).await.expect("pushed");
    rig.wait_ended(&[job], SOON).await;
    // Both runs, the failed one and the one that got there.
    for attempt in ["1", "2"] {
        let span = collector
            .wait_for_span("the span of the job", SOON, |span| {
                span.name == "job"
                    && span.attributes.get("job.id") == Some(&job.to_string())
                    && span.attributes.get("job.attempt").map(String::as_str) == Some(attempt)
            })
            .await;
        assert_eq!(span.trace_id, TRACE);
        assert_eq!(span.parent_span_id.as_deref(), Some(SPAN));
        assert!(span.service.contains("worker"), "{}", span.service);
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_span_of_this_process_submits_is_its_child_in_the_worker() {
    let collector = OtlpCollector::start().await;
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().spawn();
    // Spans are sent in batches, the rest when the process ends.
    let mut worker = rig.worker(4).set("DEPLOYMIND_OTLP_ENDPOINT", collector.endpoint()).ready().await;
    // One that no trace began, before this process has any.
    let alone = JobRequest::new(production(), &Probe {}).expect("request");
    let alone = rig.submitter.submit(alone).await.expect("submit");
    let config = TelemetryConfig {
        format: LogFormat::Json,
        filter: "off".to_owned(),
        otlp_endpoint: Some(collector.endpoint().parse().expect("an address")),
    };
    let telemetry =
        telemetry::init("test", &config).expect("no other test of this process sets telemetry up");
    let (submitted, deployed) = async {
        let submitted = rig.submit(&Script::effect()).await;
        let owner = user(&rig, "owner").await;
        let shop = app(&rig, owner, "shop", &[]).await;
        let created = rig.fleet.deploy(shop, Trigger::Manual, None, None, Priority::High).await;
        (submitted, created.expect("deploy").job)
    }
    .instrument(tracing::info_span!("request"))
    .await;
    rig.wait_ended(&[alone, submitted, deployed], SOON).await;
    telemetry.shutdown().await;
    worker.process.sigterm();
    worker.process.wait_exit(SOON).await;
    let parent = collector.wait_for_span("our span", SOON, |span| span.name == "request").await;
    let span_of = async |job: JobId| {
        let job = job.to_string();
        let wanted = |span: &deploymind_tests::otlp::Span| {
            span.name == "job" && span.attributes.get("job.id") == Some(&job)
        };
        collector.wait_for_span("the worker's span", SOON, wanted).await
    };
    for job in [submitted, deployed] {
        let child = span_of(job).await;
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.parent_span_id.as_deref(), Some(parent.span_id.as_str()));
        assert_eq!(
            (parent.service.as_str(), child.service.as_str()),
            ("deploymind-test", "deploymind-worker")
        );
    }
    let other = span_of(alone).await;
    assert_eq!(other.parent_span_id, None, "a trace of its own");
    assert_ne!(other.trace_id, parent.trace_id);
    let spans = collector.spans();
    let ours = spans.iter().filter(|span| span.trace_id == parent.trace_id).count();
    println!("{} spans, {ours} of them in the trace of the submitter", spans.len());
    rig.finish().await;
}
