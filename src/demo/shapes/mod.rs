//! The categories and how their figures are drawn.

mod animals;
mod plants;
mod things;

use super::colour::{Brush, Look};
use super::ground::Ground;

/// A category of the data set.
pub struct Category {
    /// The id in the annotation file. Like those of COCO, the ids have gaps.
    pub id: u32,
    pub name: &'static str,
    pub supercategory: &'static str,
    /// Paints one pixel of a figure.
    pub paint: fn(&mut Brush, &Look),
    /// The least size at which the figure is still recognised, in pixels.
    pub least_size: f32,
    /// The largest turn away from upright, in radians.
    pub turn: f32,
    /// The ground on which the category is mostly seen.
    pub ground: Ground,
    /// Sets of three colours to choose from.
    pub palettes: &'static [[u32; 3]],
}

const ANY_TURN: f32 = std::f32::consts::PI;

/// All categories, from the most frequent one to the rarest.
pub const CATEGORIES: [Category; 10] = [
    Category {
        id: 1,
        name: "leaf",
        supercategory: "plant",
        paint: plants::leaf,
        least_size: 25.0,
        turn: ANY_TURN,
        ground: Ground::Planks,
        palettes: &[
            [0x5FA643, 0x2F7D3B, 0xC9E39B],
            [0xE58A2B, 0xC4501F, 0xFAD58A],
            [0xD8B233, 0x9C8B24, 0xFBF0B0],
            [0xB8382F, 0x7E1F2C, 0xF0A08A],
            [0x3E8F7A, 0x1F5F5B, 0xB5E0CF],
        ],
    },
    Category {
        id: 2,
        name: "fish",
        supercategory: "animal",
        paint: animals::fish,
        least_size: 28.0,
        turn: 0.5,
        ground: Ground::Water,
        palettes: &[
            [0xF28A2E, 0xE2571E, 0xFFE3B0],
            [0x4D7FCB, 0x2C4E9C, 0xF6D65B],
            [0xE66A8A, 0xB23A6B, 0xFFE0DC],
            [0x39A89B, 0x1E6F74, 0xE9F5C9],
            [0xE8C23A, 0xC98A1B, 0xFFF6CF],
        ],
    },
    Category {
        id: 4,
        name: "apple",
        supercategory: "food",
        paint: plants::apple,
        least_size: 28.0,
        turn: 0.45,
        ground: Ground::Cloth,
        palettes: &[
            [0xC92A2E, 0xF0A23C, 0x5E9E3A],
            [0x86B93A, 0xD9DD6A, 0x4A8A33],
            [0xE9B93A, 0xDB5A35, 0x6AA33C],
            [0xA81E3A, 0xE0575A, 0x4F8F3D],
        ],
    },
    Category {
        id: 5,
        name: "mushroom",
        supercategory: "plant",
        paint: plants::mushroom,
        least_size: 30.0,
        turn: 0.3,
        ground: Ground::Grass,
        palettes: &[
            [0xCF3A2B, 0xF6EBD6, 0xFFF8EC],
            [0x9A6238, 0xEFE0C4, 0xD9AE7C],
            [0x7A5AA6, 0xEDE3F0, 0xE7D3F5],
            [0xE08A3C, 0xF7EBD3, 0xFFE9B8],
        ],
    },
    Category {
        id: 7,
        name: "starfish",
        supercategory: "animal",
        paint: animals::starfish,
        least_size: 28.0,
        turn: ANY_TURN,
        ground: Ground::Sand,
        palettes: &[
            [0xE8743B, 0xB9441F, 0xFFD9A3],
            [0xD9536F, 0x9A2C52, 0xFFD0C8],
            [0x7D6BC0, 0x4A3D8F, 0xDCD2FA],
            [0xE5A93B, 0xB4741C, 0xFFF0BF],
        ],
    },
    Category {
        id: 8,
        name: "mug",
        supercategory: "kitchen",
        paint: things::mug,
        least_size: 34.0,
        turn: 0.2,
        ground: Ground::Tiles,
        palettes: &[
            [0xF3EDE2, 0xC8503F, 0x4A2A1A],
            [0x3F7F93, 0xF2E3C4, 0x5A3420],
            [0xE3B04B, 0x7A4A2B, 0x4A2A1A],
            [0x59618F, 0xF0C7B5, 0x4F2E1C],
        ],
    },
    Category {
        id: 11,
        name: "butterfly",
        supercategory: "animal",
        paint: animals::butterfly,
        least_size: 32.0,
        turn: 0.9,
        ground: Ground::Grass,
        palettes: &[
            [0xF39A2D, 0xF8C95A, 0x33221F],
            [0x3F8FD8, 0x8FD0F2, 0x1D2447],
            [0xD765A4, 0xF7B7CF, 0x44204A],
            [0xF2E27A, 0xFBF5CE, 0x4D4326],
        ],
    },
    Category {
        id: 13,
        name: "sandals",
        supercategory: "accessory",
        paint: things::sandals,
        least_size: 62.0,
        turn: ANY_TURN,
        ground: Ground::Sand,
        palettes: &[
            [0x2F9FA8, 0xF3D9A5, 0xF2643D],
            [0xD9486B, 0xF6DCC0, 0xFFF2E0],
            [0x8A5A36, 0xE6C38E, 0x4B2E1E],
        ],
    },
    Category {
        id: 16,
        name: "sailboat",
        supercategory: "vehicle",
        paint: things::sailboat,
        least_size: 48.0,
        turn: 0.16,
        ground: Ground::Water,
        palettes: &[
            [0xB7713D, 0xFBF7EE, 0xD9443B],
            [0x3A5E8C, 0xFFF8E8, 0xF0B23A],
            [0xA33B3B, 0xF5F2EA, 0x2F6F8F],
        ],
    },
    Category {
        id: 17,
        name: "planet",
        supercategory: "space",
        paint: things::planet,
        least_size: 44.0,
        turn: 0.7,
        ground: Ground::Night,
        palettes: &[
            [0xE0A863, 0xB86F43, 0xF2DDB3],
            [0x6FA8C9, 0x3E6A9E, 0xE5D3F0],
            [0xC98AB5, 0x7F4A8F, 0xF7DFA8],
        ],
    },
];
