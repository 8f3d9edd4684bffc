//! Removing images that no container uses: some when the disk gets full, all when it is.
//!
//! Not here: pulling images (`crate::images`).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use client::EventType;
use jiff::Timestamp;

use crate::cri::{Image, ImageFsInfoRequest, ImageSpec, RemoveImageRequest};
use crate::kubelet::Kubelet;
use crate::machine::disk;
use crate::registration::node_ref;

/// An image is kept at least for this long after it is first seen.
const AGE: Duration = Duration::from_secs(120);

/// When each image was first seen, and when last in use.
pub type Ages = HashMap<String, (Timestamp, Timestamp)>;

/// A directory on the disk of images: ours, or what another's runtime says.
pub async fn disk_of_images(kubelet: &Kubelet) -> PathBuf {
    let ours = kubelet.config.data_dir.clone();
    if kubelet.config.runtime.endpoint.is_none() {
        return ours;
    }
    let info = kubelet.cri.image_fs_info(ImageFsInfoRequest {}).await;
    let first = info.ok().and_then(|i| i.image_filesystems.into_iter().next());
    first.and_then(|f| f.fs_id).map_or(ours, |id| id.mountpoint.into())
}

/// Removes unused images when the disk is fuller than it should be, until it is not.
pub async fn relieve(kubelet: &Kubelet) {
    let unused = unused(kubelet).await;
    let Some([total, free, ..]) = disk(&disk_of_images(kubelet).await) else { return };
    let full = 100 - free.min(total) * 100 / total.max(1);
    let limits = &kubelet.config.limits;
    let (high, low) = (u64::from(limits.image_gc_high), u64::from(limits.image_gc_low));
    if high >= 100 || full < high {
        return;
    }
    let wanted = full.saturating_sub(low) * total / 100;
    let freed = remove(kubelet, unused, wanted).await;
    if freed < wanted {
        let about = node_ref(&kubelet.config.node_name);
        let text = format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
        );
        kubelet.recorder.event(&about, EventType::Warning, "FreeDiskSpaceFailed", text);
    }
}

/// Removes every unused image, as the disk is short.
pub async fn reclaim(kubelet: &Kubelet) {
    let unused = unused(kubelet).await;
    remove(kubelet, unused, u64::MAX).await;
}

/// The images that may go, those longest unused first; notes what is in use.
async fn unused(kubelet: &Kubelet) -> Vec<Image> {
    let now = kubelet.clock.now();
    let Ok(images) = kubelet.cri.images().await else { return Vec::new() };
    let Ok(containers) = kubelet.cri.list_containers(None).await else { return Vec::new() };
    let used: HashSet<&str> = containers
        .iter()
        .flat_map(|c| {
            [
                c.image_ref.as_str(),
                c.image_id.as_str(),
                c.image.as_ref().map_or("", |i| i.image.as_str()),
            ]
        })
        .collect();
    let mut ages = kubelet.image_ages.lock();
    ages.retain(|id, _| images.iter().any(|i| &i.id == id));
    let mut unused = Vec::new();
    for image in images {
        let age = ages.entry(image.id.clone()).or_insert((now, Timestamp::UNIX_EPOCH));
        let mut names = image.repo_tags.iter().chain(&image.repo_digests);
        let pause = names.clone().any(|n| n == crate::containerd::pause::IMAGE);
        if used.contains(image.id.as_str()) || names.any(|n| used.contains(n.as_str())) {
            age.1 = now;
        } else if !image.pinned && !pause {
            let old = Duration::try_from(now.duration_since(age.0)).is_ok_and(|age| age >= AGE);
            unused.extend(old.then_some((age.1, age.0, image)));
        }
    }
    unused.sort_by_key(|(used, first, _)| (*used, *first));
    unused.into_iter().map(|(.., image)| image).collect()
}

/// Removes images in their order until enough bytes are free; how many are.
async fn remove(kubelet: &Kubelet, unused: Vec<Image>, wanted: u64) -> u64 {
    let mut freed: u64 = 0;
    for image in unused {
        if freed >= wanted {
            break;
        }
        let spec = ImageSpec { image: image.id.clone(), ..Default::default() };
        match kubelet.cri.remove_image(RemoveImageRequest { image: Some(spec) }).await {
            Ok(_) => {
                tracing::info!(image = image.id, bytes = image.size, "removed an unused image");
                freed = freed.saturating_add(image.size);
            }
            Err(error) => {
                tracing::warn!(image = image.id, %error, "an unused image is not removed")
            }
        }
    }
    freed
}
