//! Where image, tree and initrd go in a guest's RAM. Pure arithmetic over sizes.
//!
//! Rules (Linux, Documentation/arch/arm64/booting.rst): the image lies `text_offset` above a base that
//! is 2 MiB aligned; the tree is 8-byte aligned, at most 2 MiB, and in a 2 MiB block of its own; the
//! initrd lies within the 32 GiB window around the image. Where it can, the tree lies at the start
//! of RAM, where images that were written for QEMU's `virt` look for it too:
//!
//! ```text
//! 0x4000_0000  tree | 0x4020_0000 + text_offset  image, its .bss | initrd     Linux
//! 0x4000_0000  tree | load-address  image                                     raw
//! ```

use hv_abi::guest_map::RAM_BASE;

use crate::image::{BASE_ALIGNMENT, LinuxImage, Placement};

/// Most bytes that a tree may have.
pub const TREE_MAX: u64 = 2 * 1024 * 1024;
/// A 2 MiB block: the tree's own, and the unit of "needs N MiB".
const BLOCK: u64 = BASE_ALIGNMENT;
const PAGE: u64 = 4096;
/// Linux finds the initrd in a window of this size around its image.
const INITRD_WINDOW: u64 = 32 << 30;
/// More than any RAM (`crate::spec::MEMORY_MAX`), and far from an overflow.
const SIZE_MAX: u64 = 1 << 48;

/// What does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Image, tree and initrd need more RAM than there is.
    #[error("memory: image, initrd and device tree need {} MiB, it has {} MiB", .needed.div_ceil(1 << 20), .memory >> 20)]
    Memory {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        memory: u64,
    },
    /// The tree is larger than Linux takes.
    #[error("device tree: {0} bytes, at most 2 MiB")]
    Tree(u64),
    /// Image and initrd do not fit the window that Linux finds an initrd in.
    #[error("initrd: image and initrd together are larger than 32 GiB")]
    Window,
    /// Nothing is left for the tree beside a raw image.
    #[error("memory: no 2 MiB block for the device tree beside the image")]
    NoTreeBlock,
}

/// A part of RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// IPA of its first byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Extent {
    /// IPA behind its last byte.
    pub const fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// How many bytes there are to place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Of the image's file.
    pub image: u64,
    /// Of the tree.
    pub tree: u64,
    /// Of the initrd, 0 where there is none.
    pub initrd: u64,
}

/// Where everything goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    /// The image with the memory behind its file that it needs. It is entered at its start.
    pub image: Extent,
    /// The tree; x0 at entry.
    pub tree: Extent,
    /// The initrd, where there is one.
    pub initrd: Option<Extent>,
}

/// What is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A Linux image with this header.
    Linux(LinuxImage),
    /// Bytes that are entered where they are loaded.
    Raw {
        /// IPA, inside RAM.
        load_address: u64,
    },
}

/// Places everything in `memory` bytes of RAM.
///
/// # Errors
/// What does not fit.
pub fn plan(memory: u64, payload: Payload, sizes: Sizes) -> Result<LoadPlan, PlanError> {
    if sizes.tree > TREE_MAX {
        return Err(PlanError::Tree(sizes.tree));
    }
    match payload {
        Payload::Raw { load_address } => plan_raw(memory, load_address, sizes),
        Payload::Linux(image) => plan_linux(memory, image, sizes),
    }
}

fn plan_linux(memory: u64, linux: LinuxImage, sizes: Sizes) -> Result<LoadPlan, PlanError> {
    // memory_size is the image's own word; what is beyond any RAM is cut so that no sum overflows.
    let [size, initrd] = [linux.memory_size, sizes.initrd].map(|size| size.min(SIZE_MAX));
    let base = match linux.placement {
        Placement::Anywhere => BLOCK,
        Placement::NearStart => 0,
    };
    let image_start = base + linux.text_offset;
    let initrd_start = (image_start + size).next_multiple_of(PAGE);
    let initrd_end = initrd_start + initrd;
    let (tree_start, end) = match linux.placement {
        Placement::Anywhere => (0, initrd_end),
        Placement::NearStart => {
            let start = initrd_end.next_multiple_of(BLOCK);
            (start, start + sizes.tree)
        }
    };
    if end > memory {
        return Err(PlanError::Memory { needed: end, memory });
    }
    if initrd_end > INITRD_WINDOW {
        return Err(PlanError::Window);
    }
    Ok(LoadPlan {
        image: Extent { start: RAM_BASE + image_start, size: linux.memory_size },
        tree: Extent { start: RAM_BASE + tree_start, size: sizes.tree },
        initrd: (sizes.initrd != 0).then_some(Extent { start: RAM_BASE + initrd_start, size: sizes.initrd }),
    })
}

fn plan_raw(memory: u64, load_address: u64, sizes: Sizes) -> Result<LoadPlan, PlanError> {
    // The spec's check has put load_address inside RAM.
    let start = load_address.saturating_sub(RAM_BASE);
    if start > memory || sizes.image > memory - start {
        let needed = start.saturating_add(sizes.image);
        return Err(PlanError::Memory { needed, memory });
    }
    let tree_start = if sizes.tree <= start {
        0
    } else {
        // The image claims the start. The last block is farthest from whatever it has behind its file.
        let last = memory - BLOCK;
        if last < start + sizes.image {
            return Err(PlanError::NoTreeBlock);
        }
        last
    };
    Ok(LoadPlan {
        image: Extent { start: load_address, size: sizes.image },
        tree: Extent { start: RAM_BASE + tree_start, size: sizes.tree },
        initrd: None,
    })
}

#[cfg(test)]
mod tests;
