//! What an image's tag means at present: asked once, at admission.

use skerry_registry::{ImageRef, Registry, RegistryError};
use skerry_types::{ContainerSpec, ImageDigest, WorkloadSpec, chain};
use tonic::Status;

/// Puts a digest beside every image of a workload.
pub(crate) async fn resolve(registry: &Registry, spec: &mut WorkloadSpec) -> Result<(), Status> {
    let name = spec.key.to_string();
    let mut instance = (*spec.instance).clone();
    for container in instance.init.iter_mut().chain(&mut instance.containers) {
        let digest = digest_of(registry, &name, container).await?;
        container.digest = Some(digest);
    }
    spec.instance = instance.into();
    Ok(())
}

async fn digest_of(
    registry: &Registry,
    workload: &str,
    container: &ContainerSpec,
) -> Result<ImageDigest, Status> {
    let place = format!("workload '{workload}', container '{}'", container.name);
    let image: ImageRef =
        container.image.parse().map_err(|error| Status::invalid_argument(format!("{place}: {error}")))?;
    let digest = match image.digest() {
        Some(digest) => digest.to_string(),
        None => registry.resolve(&image).await.map_err(|error| refusal(&place, &error))?.to_string(),
    };
    ImageDigest::new(digest).map_err(|error| Status::internal(format!("{place}: {error}")))
}

fn refusal(place: &str, error: &RegistryError) -> Status {
    let message = format!("{place}: {}", chain(error));
    match error {
        RegistryError::NotFound { .. } => Status::not_found(message),
        RegistryError::Unauthorized { .. } => Status::failed_precondition(message),
        error if error.is_permanent() => Status::failed_precondition(message),
        _ => Status::unavailable(format!(
            "{message}; nothing was changed, apply again when the registry answers"
        )),
    }
}
