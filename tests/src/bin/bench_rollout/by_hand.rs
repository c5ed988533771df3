//! What somebody would type: start a container and ask until it is healthy.

use std::time::{Duration, Instant};

use deploymind_tests::delivery::docker;
use deploymind_tests::{http, wait_for};

/// A container that was made by hand.
pub struct Container {
    id: String,
}

impl Container {
    /// Makes and starts one, and waits until it is healthy; the seconds that took.
    pub async fn run(image: &str) -> (Self, f64) {
        let begun = Instant::now();
        let this = Self { id: docker(&["run", "--detach", image]).trim().to_owned() };
        this.healthy().await;
        (this, begun.elapsed().as_secs_f64())
    }

    /// The same with one that was stopped.
    pub async fn start(&self) -> f64 {
        let begun = Instant::now();
        docker(&["start", &self.id]);
        self.healthy().await;
        begun.elapsed().as_secs_f64()
    }

    pub fn stop(&self) {
        docker(&["stop", &self.id]);
    }

    async fn healthy(&self) {
        let format = "{{.NetworkSettings.IPAddress}}";
        let address = docker(&["inspect", "--format", format, &self.id]);
        let url = format!("http://{}:8080/health", address.trim());
        wait_for("the container to be healthy", Duration::from_secs(60), async || {
            http::get(&url).await.and_then(|answer| match answer.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            })
        })
        .await;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.id]);
    }
}
