//! New jobs, many in one commit.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::join;
use crate::db::{Db, measured};
use crate::domain::job::Priority;
use crate::error::{Code, Error, Result};
use crate::ids::{EnvironmentName, JobId, TargetName};
use crate::telemetry::TraceContext;

/// A job that belongs to no app. Deployments come with theirs: [`crate::db::deployments::deployment_create`].
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: JobId,
    pub kind: String,
    pub environment: EnvironmentName,
    pub priority: Priority,
    pub payload: serde_json::Value,
    pub targets: Vec<TargetName>,
    pub delay: Duration,
    pub trace: Option<TraceContext>,
}

/// Inserts all jobs whose environment and targets exist, in one commit; answers for each in order. A job that is
/// there already counts as inserted, so a commit whose answer was lost can be repeated.
pub async fn job_insert(db: &Db, jobs: &[NewJob]) -> Result<Vec<Result<()>>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.as_uuid()).collect();
    let kinds: Vec<String> = jobs.iter().map(|job| job.kind.clone()).collect();
    let environments: Vec<String> = jobs.iter().map(|job| job.environment.to_string()).collect();
    let priorities: Vec<i16> = jobs.iter().map(|job| job.priority.as_i16()).collect();
    let payloads: Vec<serde_json::Value> = jobs.iter().map(|job| job.payload.clone()).collect();
    let targets: Vec<String> = jobs.iter().map(|job| join(&job.targets)).collect();
    let delays: Vec<f64> = jobs.iter().map(|job| job.delay.as_secs_f64()).collect();
    let traces: Vec<Option<String>> =
        jobs.iter().map(|job| job.trace.as_ref().map(ToString::to_string)).collect();
    let inserted = measured!(db, JobInsert, |conn| {
        sqlx::query_scalar!(
        r#"INSERT INTO jobs (id, kind, environment, priority, payload, targets, trace_context, run_at)
           SELECT w.id, w.kind, w.environment, w.priority, w.payload,
                  coalesce(string_to_array(nullif(w.targets, ''), E'\n'), '{}'), w.trace,
                  CASE WHEN w.delay > 0 THEN now() + make_interval(secs => w.delay) END
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::jsonb[], $6::text[], $7::text[], $8::float8[])
                AS w (id, kind, environment, priority, payload, targets, trace, delay)
           WHERE EXISTS (SELECT 1 FROM environments e WHERE e.name = w.environment)
             AND NOT EXISTS (
                 SELECT 1 FROM unnest(string_to_array(nullif(w.targets, ''), E'\n')) AS wanted (name)
                 WHERE NOT EXISTS (SELECT 1 FROM targets t WHERE t.name = wanted.name))
           ON CONFLICT (id) DO NOTHING
           RETURNING id AS "id: JobId""#,
        &ids,
        &kinds,
        &environments,
        &priorities,
        &payloads,
        &targets,
        &traces as &[Option<String>],
        &delays,
    )
    .fetch_all(conn)
    })?;
    if inserted.len() == jobs.len() {
        return Ok(jobs.iter().map(|_| Ok(())).collect());
    }
    let inserted: HashSet<JobId> = inserted.into_iter().collect();
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        answers.push(if inserted.contains(&job.id) { Ok(()) } else { refusal(db, job).await? });
    }
    Ok(answers)
}

async fn refusal(db: &Db, job: &NewJob) -> Result<Result<()>> {
    let facts = measured!(db, JobRefusal, |conn| sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1) AS "known!",
                  EXISTS (SELECT 1 FROM environments WHERE name = $2) AS "environment!""#,
        job.id.as_uuid(),
        job.environment.as_str(),
    )
    .fetch_one(conn))?;
    Ok(if facts.known {
        Ok(())
    } else if !facts.environment {
        Err(Error::new(
            Code::EnvironmentUnknown,
            format!("there is no environment {:?}", job.environment.as_str()),
        ))
    } else {
        Err(Error::new(Code::TargetUnknown, "one of the targets does not exist; create it first"))
    })
}
