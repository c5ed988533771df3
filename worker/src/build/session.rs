//! A BuildKit session: the connection on which the engine asks us back while it builds.
//!
//! Offers two things: that we are alive, and the values of the build's secrets. It offers no file of this machine.

use std::collections::HashMap;
use std::pin::Pin;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use futures::Stream;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use secrecy::{ExposeSecret, SecretString};
use tonic::{Request, Response, Status};

use super::engine::Engine;
use super::http::{self, Cause};

/// A session that the engine has accepted. It lives while `serve` is polled.
pub(super) struct Session {
    upgraded: hyper::upgrade::Upgraded,
    secrets: Vault,
}

struct Vault(HashMap<String, SecretString>);
struct Alive;

impl Session {
    /// # Errors
    /// Whatever keeps the session from starting; nothing has been built then.
    pub(super) async fn open(
        engine: &Engine,
        id: &str,
        secrets: HashMap<String, SecretString>,
    ) -> Result<Self, Cause> {
        let request = http::post(engine, "/session")
            .header("Connection", "Upgrade")
            .header("Upgrade", "h2c")
            .header("X-Docker-Expose-Session-Uuid", id)
            .header("X-Docker-Expose-Session-Name", "deploymind")
            .header("X-Docker-Expose-Session-Sharedkey", "")
            .header("X-Docker-Expose-Session-Grpc-Method", "/grpc.health.v1.Health/Check")
            .header("X-Docker-Expose-Session-Grpc-Method", "/moby.buildkit.secrets.v1.Secrets/GetSecret")
            .body(http::empty())?;
        let mut answer = http::exchange(engine, request).await?;
        if answer.status() != 101 {
            let text = answer.text(16 * 1024).await?;
            return Err(format!("{}: {}", answer.status(), String::from_utf8_lossy(&text)).into());
        }
        Ok(Self { upgraded: answer.upgraded().await?, secrets: Vault(secrets) })
    }

    /// Answers the engine until it closes the session. Dropping it closes the session.
    pub(super) async fn serve(self) -> Result<(), Cause> {
        let services = tonic::service::Routes::new(HealthServer::new(Alive))
            .add_service(SecretsServer::new(self.secrets))
            .prepare();
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(self.upgraded, TowerToHyperService::new(services))
            .await?;
        Ok(())
    }
}

#[tonic::async_trait]
impl Secrets for Vault {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match self.0.get(&request.get_ref().id) {
            Some(value) => {
                Ok(Response::new(GetSecretResponse { data: value.expose_secret().as_bytes().to_vec() }))
            }
            None => Err(Status::not_found("no build secret of that name")),
        }
    }
}

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}
