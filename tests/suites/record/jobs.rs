//! Jobs: insert, claim, finish, give back, cancel, recover, and what the reconcilers read.

use std::time::Duration;

use deploymind_shared::db::deployments::{Trigger, deployment_get};
use deploymind_shared::db::jobs::{
    Cancelled, Claim, Finish, NewJob, Requeue, Unclaimed, job_cancel, job_claim, job_ended, job_finish,
    job_get, job_held, job_insert, job_next_for_apps, job_placements, job_quarantine_release,
    job_quarantined, job_quarantined_count, job_queued, job_reap, job_requeue, job_unclaimed, job_waits_for,
};
use deploymind_shared::db::targets::target_get;
use deploymind_shared::db::workers::worker_bury;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{CancelReason, JobState, MAX_RECOVERIES, Priority};
use deploymind_shared::error::Code;
use deploymind_shared::ids::{AppId, Attempt, EnvironmentName, Epoch, JobId, TargetName, WorkerId};
use deploymind_tests::rig::Rig;
use futures::future::join_all;

use super::{app, claim, deploy, new_job, user, worker};

async fn state(rig: &Rig, job: JobId) -> JobState {
    job_get(&rig.fleet.db, job).await.expect("read").expect("there").state
}

fn finish(job: JobId, attempt: Attempt) -> Finish {
    Finish { job, attempt, state: JobState::Succeeded, deployment: None, code: None, reason: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_answer_for_each_and_may_be_repeated() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let targets = rig.targets(2).await;
    let nowhere = EnvironmentName::parse("nowhere").expect("a good name");
    let unknown = TargetName::parse("docker://unknown").expect("a good name");
    let good = NewJob { priority: Priority::High, delay: Duration::from_secs(60), ..new_job(&targets) };
    let batch = [
        good.clone(),
        NewJob { environment: nowhere, ..new_job(&[]) },
        NewJob { targets: vec![targets[0].clone(), unknown], ..new_job(&[]) },
        new_job(&[]),
    ];
    let codes = |answers: Vec<deploymind_shared::error::Result<()>>| -> Vec<Option<Code>> {
        answers.into_iter().map(|answer| answer.err().map(|error| error.code())).collect()
    };
    let expected = [None, Some(Code::EnvironmentUnknown), Some(Code::TargetUnknown), None];
    assert_eq!(codes(job_insert(db, &batch).await.expect("insert")), expected);
    assert_eq!(codes(job_insert(db, &batch).await.expect("the same again")), expected);
    let read = job_get(db, good.id).await.expect("read").expect("there");
    assert_eq!((read.state, read.priority, &read.targets), (JobState::Queued, Priority::High, &targets));
    assert_eq!((read.attempt, read.tries, read.recoveries, read.worker), (Attempt(0), 0, 0, None));
    assert!(read.run_at.is_some_and(|at| at > read.created_at));
    assert!(job_get(db, batch[1].id).await.expect("read").is_none());
    let placed = job_placements(db, &[good.id, batch[3].id, batch[1].id]).await.expect("placements");
    assert_eq!(placed.iter().map(|placed| placed.job).collect::<Vec<_>>(), [good.id, batch[3].id]);
    assert_eq!((placed[0].priority, &placed[0].targets), (Priority::High, &targets));
    assert!(placed[0].delay > Duration::from_secs(50) && placed[1].delay == Duration::ZERO);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_claims_wins_and_raises_only_what_it_locked() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let targets = rig.targets(2).await;
    let job = new_job(&targets);
    job_insert(db, std::slice::from_ref(&job)).await.expect("insert");
    let workers: Vec<WorkerId> = join_all((0..8).map(|_| worker(&rig))).await;
    let wish = [Claim { job: job.id, locked: targets[..1].to_vec() }];
    let answers = join_all(workers.iter().map(|worker| job_claim(db, *worker, &wish))).await;
    let won: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, got)| !got.as_ref().expect("claim").is_empty())
        .map(|(n, _)| n)
        .collect();
    println!("8 claimed at once, {} won", won.len());
    let [winner] = won[..] else { panic!("{won:?}") };
    let claimed = answers[winner].as_ref().expect("claim")[0].clone();
    assert_eq!((claimed.attempt, claimed.targets.as_slice()), (Attempt(1), &targets[..]));
    assert_eq!(claimed.epochs.into_iter().collect::<Vec<_>>(), [(targets[0].clone(), Epoch(1))]);
    assert_eq!(target_get(db, &targets[1]).await.expect("read").expect("there").epoch, Epoch(0));
    let loser = workers[(winner + 1) % 8];
    let ghost = JobId::generate();
    let why = |worker| async move { job_unclaimed(db, worker, &[job.id, ghost]).await.expect("why") };
    assert_eq!(why(loser).await, [Unclaimed::Pointless, Unclaimed::Pointless]);
    assert_eq!(why(workers[winner]).await, [Unclaimed::Mine(Attempt(1)), Unclaimed::Pointless]);
    let held = job_held(db, workers[winner]).await.expect("held");
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(job.id, (Attempt(1), None))]);
    assert!(job_held(db, loser).await.expect("held").is_empty());
    for attempt in [Attempt(0), Attempt(2)] {
        assert_eq!(job_finish(db, &[finish(job.id, attempt)]).await.expect("finish"), []);
    }
    assert_eq!(job_finish(db, &[finish(job.id, Attempt(1))]).await.expect("finish").len(), 1);
    assert_eq!(job_finish(db, &[finish(job.id, Attempt(1))]).await.expect("finish again"), []);
    assert_eq!(job_ended(db, &[job.id, ghost]).await.expect("ended"), [job.id, ghost]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_of_an_app_at_a_time_and_the_oldest_next() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let owner = user(&rig, "owner").await;
    deploymind_shared::db::environments::environment_put(
        db,
        &deploymind_tests::rig::production(),
        deploymind_shared::domain::overlap::OverlapPolicy::Queue,
    )
    .await
    .expect("put");
    let shop = app(&rig, owner, "shop", &[]).await;
    let mut created = Vec::new();
    for _ in 0..3 {
        created.push(deploy(&rig, shop, Trigger::Push).await.job);
    }
    let next = || async {
        let placed = job_next_for_apps(db, &[shop, AppId::generate()]).await.expect("next");
        placed.into_iter().map(|placed| placed.job).collect::<Vec<_>>()
    };
    let queued = || async {
        let queued = job_queued(db, None, Duration::ZERO, 10).await.expect("queued");
        queued.into_iter().map(|placed| placed.job).collect::<Vec<_>>()
    };
    assert_eq!((next().await, queued().await), (vec![created[0]], vec![created[0]]));
    let worker = worker(&rig).await;
    let attempt = claim(&rig, worker, created[0], &[]).await;
    assert_eq!((next().await, queued().await), (vec![], vec![]));
    let wish = [Claim { job: created[1], locked: Vec::new() }];
    assert!(job_claim(db, worker, &wish).await.expect("claim").is_empty(), "its app is busy");
    assert_eq!(job_unclaimed(db, worker, &created[1..2]).await.expect("why"), [Unclaimed::AppBusy(shop)]);
    assert_eq!(job_waits_for(db, shop, created[1]).await.expect("waits"), Some(created[0]));
    assert_eq!(job_waits_for(db, shop, created[0]).await.expect("waits"), None);
    // Given back, it still counts as begun, and is the one that goes on.
    let back = Requeue::HandBack { after: Duration::ZERO };
    assert!(job_requeue(db, created[0], attempt, &back).await.expect("requeue"));
    assert_eq!((next().await, queued().await), (vec![created[0]], vec![created[0]]));
    let attempt = claim(&rig, worker, created[0], &[]).await;
    let ended = Finish { deployment: Some(DeploymentStatus::Failed), ..finish(created[0], attempt) };
    let finished = job_finish(db, &[ended]).await.expect("finish");
    assert_eq!((finished[0].app, finished[0].job), (Some(shop), created[0]));
    assert_eq!((next().await, queued().await), (vec![created[1]], vec![created[1]]));
    // Pages, and the grace for whoever pushes just now.
    let plain: Vec<NewJob> = (0..3).map(|_| new_job(&[])).collect();
    job_insert(db, &plain).await.expect("insert");
    let page = job_queued(db, Some(plain[0].id), Duration::ZERO, 1).await.expect("page");
    assert_eq!(page.iter().map(|placed| placed.job).collect::<Vec<_>>(), [plain[1].id]);
    assert_eq!(job_queued(db, None, Duration::from_secs(60), 10).await.expect("grace"), []);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_job_is_given_back_unless_it_was_asked_to_stop() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let targets = rig.targets(1).await;
    let job = new_job(&[]);
    job_insert(db, std::slice::from_ref(&job)).await.expect("insert");
    let worker = worker(&rig).await;
    for (requeue, tries, has_targets, delayed) in [
        (Requeue::Retry { after: Duration::from_secs(60), reason: "no\0pe".to_owned() }, 1, false, true),
        (Requeue::HandBack { after: Duration::ZERO }, 1, false, false),
        (Requeue::Park { targets: targets.clone() }, 1, true, false),
    ] {
        let attempt = claim(&rig, worker, job.id, &[]).await;
        let late = Attempt(attempt.0 - 1);
        assert!(!job_requeue(db, job.id, late, &requeue).await.expect("requeue"), "another attempt");
        assert!(job_requeue(db, job.id, attempt, &requeue).await.expect("requeue"));
        let read = job_get(db, job.id).await.expect("read").expect("there");
        assert_eq!((read.state, read.tries, read.worker), (JobState::Queued, tries, None));
        assert_eq!((read.targets.len() == 1, read.run_at.is_some()), (has_targets, delayed));
        assert_eq!(read.reason.as_deref(), Some("nope"));
    }
    let attempt = claim(&rig, worker, job.id, &targets).await;
    let asked = job_cancel(db, job.id, CancelReason::User).await.expect("cancel");
    assert_eq!(asked, Cancelled::Asked { worker });
    let again = job_cancel(db, job.id, CancelReason::Superseded).await.expect("cancel");
    assert_eq!(again, Cancelled::Asked { worker });
    let held = job_held(db, worker).await.expect("held");
    assert_eq!(held.get(&job.id), Some(&(attempt, Some(CancelReason::User))), "the first reason stays");
    let back = Requeue::HandBack { after: Duration::ZERO };
    assert!(!job_requeue(db, job.id, attempt, &back).await.expect("requeue"), "it has to end");
    let end = Finish { state: JobState::Cancelled, ..finish(job.id, attempt) };
    assert_eq!(job_finish(db, &[end]).await.expect("finish").len(), 1);
    assert_eq!(job_cancel(db, job.id, CancelReason::User).await.expect("cancel"), Cancelled::Late);
    assert_eq!(
        job_cancel(db, JobId::generate(), CancelReason::User).await.expect("cancel"),
        Cancelled::Unknown
    );
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_deployment_is_cancelled_with_its_job_and_a_reason() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &[]).await;
    for (reason, status) in [
        (CancelReason::User, DeploymentStatus::Cancelled),
        (CancelReason::Superseded, DeploymentStatus::Superseded),
    ] {
        let created = deploy(&rig, shop, Trigger::Push).await;
        let ended = job_cancel(db, created.job, reason).await.expect("cancel");
        assert_eq!(ended, Cancelled::Ended { app: Some(shop) });
        let read = deployment_get(db, created.deployment).await.expect("read").expect("there");
        assert_eq!(read.status, status);
        assert!(read.finished_at.is_some());
        assert!(read.reason.is_some(), "{status}: every end has a reason");
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_dead_worker_come_back_until_they_are_quarantined() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &[]).await;
    let other = app(&rig, owner, "other", &[]).await;
    let (plain, of_app) = (new_job(&[]), deploy(&rig, shop, Trigger::Push).await);
    let cancelled = deploy(&rig, other, Trigger::Push).await;
    job_insert(db, std::slice::from_ref(&plain)).await.expect("insert");
    for round in 0..=MAX_RECOVERIES {
        let worker = worker(&rig).await;
        claim(&rig, worker, plain.id, &[]).await;
        claim(&rig, worker, of_app.job, &[]).await;
        if round == 0 {
            claim(&rig, worker, cancelled.job, &[]).await;
            job_cancel(db, cancelled.job, CancelReason::User).await.expect("cancel");
        }
        assert!(job_reap(db, worker, 10).await.expect("reap").is_empty(), "it is alive");
        worker_bury(db, worker, Duration::ZERO).await.expect("bury");
        let reaped = job_reap(db, worker, 10).await.expect("reap");
        assert_eq!(reaped.len(), if round == 0 { 3 } else { 2 });
        assert!(job_reap(db, worker, 10).await.expect("reap again").is_empty());
        for job in reaped {
            let expected = match job.job {
                job if job == cancelled.job => JobState::Cancelled,
                _ if round == MAX_RECOVERIES => JobState::Quarantined,
                _ => JobState::Queued,
            };
            assert_eq!((job.state, state(&rig, job.job).await), (expected, expected));
        }
    }
    let ended = deployment_get(db, of_app.deployment).await.expect("read").expect("there");
    assert_eq!(
        (ended.status, ended.code.as_deref()),
        (DeploymentStatus::Failed, Some(Code::Quarantined.as_str()))
    );
    let stopped = deployment_get(db, cancelled.deployment).await.expect("read").expect("there");
    assert_eq!(stopped.status, DeploymentStatus::Cancelled);
    assert!(ended.reason.is_some() && stopped.reason.is_some(), "every end has a reason");
    let mut quarantined = [plain.id, of_app.job];
    quarantined.sort();
    assert_eq!(job_quarantined(db, None, 10).await.expect("list"), quarantined);
    assert_eq!(job_quarantined(db, Some(quarantined[0]), 10).await.expect("page"), quarantined[1..]);
    assert_eq!(job_quarantined_count(db).await.expect("count"), 2);
    // A person's wish: the same job again, or, for a deployment, a new one.
    let placed = job_quarantine_release(db, plain.id).await.expect("release").expect("queued again");
    assert_eq!((placed.job, state(&rig, plain.id).await), (plain.id, JobState::Queued));
    assert!(job_quarantine_release(db, of_app.job).await.expect("release").is_none());
    assert_eq!(state(&rig, of_app.job).await, JobState::Failed);
    let error = job_quarantine_release(db, plain.id).await.expect_err("not any more");
    assert_eq!(error.code(), Code::JobNotQuarantined);
    rig.finish().await;
}
