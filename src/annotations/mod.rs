pub mod polygon;
pub mod rle;
