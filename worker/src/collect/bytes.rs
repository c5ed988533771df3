//! Sizes of layers, each counted once.

use std::collections::{HashMap, HashSet};

use super::words::{Image, Survey};

/// `1.5 GB`, decimal as the engine's own tools write it.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// How many of a set of images have each layer. A layer comes free with the last of them.
pub(super) struct Shares<'a>(HashMap<&'a str, usize>);

impl<'a> Shares<'a> {
    pub(super) fn of(images: impl Iterator<Item = &'a Image>) -> Self {
        let mut users: HashMap<&str, usize> = HashMap::new();
        for image in images {
            for layer in &image.layers {
                *users.entry(layer).or_default() += 1;
            }
        }
        Self(users)
    }

    /// Takes an image out; returns the layers that nobody has now.
    pub(super) fn release(&mut self, image: &'a Image) -> Vec<&'a str> {
        let mut freed = Vec::new();
        for layer in &image.layers {
            if let Some(users) = self.0.get_mut(layer.as_str()) {
                *users = users.saturating_sub(1);
                if *users == 0 {
                    freed.push(layer.as_str());
                }
            }
        }
        freed
    }
}

/// Bytes of the layers of `images` that are in none of `others`.
pub(super) fn bytes_alone<'a>(
    survey: &Survey,
    images: impl Iterator<Item = &'a Image>,
    others: impl Iterator<Item = &'a Image>,
) -> u64 {
    layers_of(images).difference(&layers_of(others)).map(|layer| bytes_of(survey, layer)).sum()
}

pub(super) fn bytes_of(survey: &Survey, layer: &str) -> u64 {
    survey.layers.get(layer).map_or(0, |layer| layer.bytes)
}

pub(super) fn layers_of<'a>(images: impl Iterator<Item = &'a Image>) -> HashSet<&'a str> {
    images.flat_map(|image| image.layers.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_the_engine_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (3_000_000, "3.0 MB"),
            (12_340_000_000, "12.3 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}
