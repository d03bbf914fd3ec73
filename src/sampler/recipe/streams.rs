//! Which stream of a sample's draws is for what. Each has one purpose, and takes as many numbers
//! whatever the settings: changing one setting changes nothing that another one draws.

/// The scene's placement, then its colour.
pub(super) const SCENE: u64 = 0;
/// How many layers of the bank.
pub(super) const COUNT: u64 = 1;
/// Whether there are layers, which, and whether the scene is synthetic: a number each.
pub(super) const USE: u64 = 2;
/// Which synthetic scene.
pub(super) const SYNTHETIC: u64 = 3;
/// Which second scene.
pub(super) const SECOND_SCENE: u64 = 4;
/// The second scene's placement, then its colour.
pub(super) const SECOND_JITTER: u64 = 5;
/// How many of its instances.
pub(super) const SECOND_COUNT: u64 = 6;
/// Three numbers for each of its instances: whether it is taken, its blend, its label.
pub(super) const SECOND_OBJECTS: u64 = 7;

/// Of a layer of the bank: category and cutout.
pub(super) const CUTOUT: u64 = 0;
/// Of a layer of the bank: size.
pub(super) const SIZE: u64 = 1;
/// Of a layer of the bank: flip, aspect, angle, blend, label and colour.
pub(super) const VARIATIONS: u64 = 2;
/// Of a layer of the bank: place.
pub(super) const PLACE: u64 = 3;
const PURPOSES: u64 = 4;

/// Most redraws of a layer that was rejected.
pub(super) const MOST_REDRAWS: u64 = 10;

/// The stream of a layer of the bank, of which there are at most 65,534.
pub(super) fn layer(number: u64, attempt: u64, purpose: u64) -> u64 {
    let layers = 1 << 16;
    layers + (number * (MOST_REDRAWS + 1) + attempt) * PURPOSES + purpose
}
