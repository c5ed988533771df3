//! Claims, many in one commit.

use std::collections::HashMap;

use deploymind_shared::batch::Batcher;
use deploymind_shared::db::jobs::{Claim, ClaimedJob, Unclaimed, job_claim, job_unclaimed};
use deploymind_shared::error::{Error, Result};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::{JobId, WorkerId};
use deploymind_shared::lifecycle::Lifecycle;

const BATCH: usize = 256;
const LANES: usize = 2;

pub(crate) type Answer = Result<std::result::Result<ClaimedJob, Unclaimed>>;

#[derive(Clone)]
pub(crate) struct Claimer(Batcher<Claim, Answer>);

impl Claimer {
    pub(crate) fn start(lifecycle: &Lifecycle, fleet: &Fleet, worker: WorkerId) -> Self {
        let fleet = fleet.clone();
        Self(Batcher::start(lifecycle, "claim jobs", LANES, BATCH, move |claims: Vec<Claim>| {
            let fleet = fleet.clone();
            async move {
                match claim(&fleet, worker, &claims).await {
                    Ok(answers) => answers.into_iter().map(Ok).collect(),
                    // Two jobs of one app in one batch trip over the index; alone, each gets its own answer.
                    Err(error) if claims.len() > 1 && !error.is_transient() => {
                        let mut answers = Vec::with_capacity(claims.len());
                        for one in &claims {
                            let alone = claim(&fleet, worker, std::slice::from_ref(one)).await;
                            answers.push(
                                alone.and_then(|mut answers| answers.pop().ok_or_else(|| error.again())),
                            );
                        }
                        answers
                    }
                    Err(error) => claims.iter().map(|_| Err(Error::again(&error))).collect(),
                }
            }
        }))
    }

    pub(crate) async fn claim(&self, claim: Claim) -> Answer {
        self.0.submit(claim).await?
    }
}

async fn claim(
    fleet: &Fleet,
    worker: WorkerId,
    claims: &[Claim],
) -> Result<Vec<std::result::Result<ClaimedJob, Unclaimed>>> {
    let claimed = job_claim(&fleet.db, worker, claims).await?;
    let mut claimed: HashMap<JobId, ClaimedJob> = claimed.into_iter().map(|job| (job.id, job)).collect();
    let missing: Vec<JobId> =
        claims.iter().map(|claim| claim.job).filter(|job| !claimed.contains_key(job)).collect();
    let mut why: HashMap<JobId, Unclaimed> = HashMap::new();
    if !missing.is_empty() {
        why.extend(missing.iter().copied().zip(job_unclaimed(&fleet.db, worker, &missing).await?));
    }
    Ok(claims
        .iter()
        .map(|claim| match claimed.remove(&claim.job) {
            Some(job) => Ok(job),
            None => Err(why.get(&claim.job).copied().unwrap_or(Unclaimed::Pointless)),
        })
        .collect())
}
