use aquifer_image::Image;

use super::{Checker, Observation};

/// What the metadata promise never to take back is in every later image: ends and starts of streams, epochs, ids given out.
#[derive(Debug, Default)]
pub(crate) struct MetadataOnlyGrow {
    newest: Option<Image>,
}

impl Checker for MetadataOnlyGrow {
    fn name(&self) -> &'static str {
        "metadata only grow"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Image { node, image } = *observation else { return Ok(()) };
        let newest = self.newest.get_or_insert_with(|| image.clone());
        if image.applied() > newest.applied() {
            let followed = image.check_follows(newest);
            followed.map_err(|violation| {
                format!("node {node}, {} after {}: {violation}", image.applied(), newest.applied())
            })?;
            *newest = image.clone();
        }
        Ok(())
    }
}
