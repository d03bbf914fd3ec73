//! Annotated data sets: COCO and LVIS instance files, and their masks as pycocotools makes them.

#[cfg(feature = "pack")]
pub mod coco;
pub mod polygon;
#[cfg(any(feature = "pack", feature = "view"))]
pub mod problems;
pub mod rle;
#[cfg(feature = "pack")]
pub(crate) mod segmentation;
