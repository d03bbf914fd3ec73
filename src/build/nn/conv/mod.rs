//! Convolution with bias and rectifier in one pass.
//!
//! candle's convolution on the CPU writes each pixel once for every weight that touches it (im2col)
//! and multiplies matrices. This one copies a tile of the maps with its borders into a buffer that
//! fits a cache, once, and takes every weight's view of it as an offset. It also
//! reads maps that are concatenated, so that nothing is copied to make them one tensor.

mod direct;
mod kernel;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail,
};
use candle_nn::Conv2dConfig;

use direct::{Direct, Maps};

/// A convolution of maps [images, channels, height, width], with a bias and a rectifier.
///
/// For inference: no gradient goes through it on the CPU.
pub struct Conv2d {
    outputs: usize,
    inputs: usize,
    relu: bool,
    method: Method,
}

enum Method {
    /// Ours: one group, 32-bit floats, on the CPU.
    Direct(Direct),
    /// candle's.
    Stock {
        weight: Tensor,
        bias: Option<Tensor>,
        config: Conv2dConfig,
    },
}

impl Conv2d {
    /// A convolution by `weight` [outputs, inputs / groups, height, width], plus `bias` `[outputs]`,
    /// and with `relu` nothing below zero. It runs where the weight is, in the weight's element
    /// type.
    ///
    /// # Errors
    /// A weight or a bias of another shape; a stride, a dilation or a number of groups of zero.
    pub fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        config: Conv2dConfig,
        relu: bool,
    ) -> Result<Conv2d> {
        let is_ours = weight.device().is_cpu() && weight.dtype() == DType::F32;
        if !is_ours || config.groups != 1 || weight.elem_count() == 0 {
            return Conv2d::stock(weight, bias, config, relu);
        }
        let (outputs, inputs) = check(&weight, bias.as_ref(), &config)?;
        Ok(Conv2d {
            outputs,
            inputs,
            relu,
            method: Method::Direct(Direct::new(&weight, bias.as_ref(), &config)?),
        })
    }

    /// The same, but candle's own on any device: what ours is measured against.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn stock(
        weight: Tensor,
        bias: Option<Tensor>,
        config: Conv2dConfig,
        relu: bool,
    ) -> Result<Conv2d> {
        let (outputs, inputs) = check(&weight, bias.as_ref(), &config)?;
        let bias = bias.map(|bias| bias.reshape((1, outputs, 1, 1)));
        Ok(Conv2d {
            outputs,
            inputs,
            relu,
            method: Method::Stock {
                weight,
                bias: bias.transpose()?,
                config,
            },
        })
    }

    /// Convolves the maps: [images, outputs, height, width].
    ///
    /// # Errors
    /// Maps of another number of channels, smaller than the kernel, of another element type or
    /// elsewhere than the weight.
    pub fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        match &self.method {
            Method::Direct(_) => maps.apply_op1_no_bwd(self),
            Method::Stock { .. } => self.forward_stock(maps),
        }
    }

    /// Convolves the concatenation of the channels of `first` and of `second`.
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    pub fn forward_joined(&self, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        match &self.method {
            Method::Direct(_) => first.apply_op2_no_bwd(second, self),
            Method::Stock { .. } => self.forward_stock(&Tensor::cat(&[first, second], 1)?),
        }
    }

    /// As [`Conv2d::forward_joined`], and adds the result, after the rectifier, to `base`.
    ///
    /// # Errors
    /// As [`Conv2d::forward`], and a `base` that has not the result's shape.
    pub fn forward_joined_onto(
        &self,
        first: &Tensor,
        second: &Tensor,
        base: &Tensor,
    ) -> Result<Tensor> {
        match &self.method {
            Method::Direct(_) => first.apply_op3_no_bwd(second, &base.contiguous()?, self),
            Method::Stock { .. } => self.forward_stock(&Tensor::cat(&[first, second], 1)?)? + base,
        }
    }

    fn forward_stock(&self, maps: &Tensor) -> Result<Tensor> {
        let Method::Stock {
            weight,
            bias,
            config,
        } = &self.method
        else {
            bail!("a convolution of the CPU has no weight of candle's");
        };
        let mut result = maps.conv2d(
            weight,
            config.padding,
            config.stride,
            config.dilation,
            config.groups,
        )?;
        if let Some(bias) = bias {
            result = result.broadcast_add(bias)?;
        }
        if self.relu { result.relu() } else { Ok(result) }
    }

    /// Convolves the concatenation of `parts` by our method.
    fn direct(
        &self,
        parts: &[(&CpuStorage, &Layout)],
        base: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let Method::Direct(direct) = &self.method else {
            bail!("a convolution of candle's was asked for ours");
        };
        let maps = parts.iter().map(|(storage, layout)| maps(storage, layout));
        let maps = maps.collect::<Result<Vec<_>>>()?;
        let channels: usize = maps.iter().map(|maps| maps.channels).sum();
        if channels != self.inputs {
            let inputs = self.inputs;
            bail!("a convolution of {inputs} channels was given maps of {channels}");
        }
        let [images, height, width] = direct.shape(&maps)?;
        let shape = Shape::from((images, self.outputs, height, width));
        let base = base.map(|(storage, layout)| match layout.contiguous_offsets() {
            Some((start, end)) if *layout.shape() == shape => {
                Ok(&storage.as_slice::<f32>()?[start..end])
            }
            _ => bail!("{shape:?} cannot be added to {:?}", layout.shape()),
        });
        let result = direct.run(&maps, base.transpose()?, self.relu)?;
        Ok((CpuStorage::F32(result), shape))
    }
}

/// Channels that come out and go in.
fn check(weight: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig) -> Result<(usize, usize)> {
    let (outputs, inputs, ..) = weight.dims4()?;
    if config.stride == 0 || config.dilation == 0 || config.groups == 0 {
        bail!("stride, dilation and groups of a convolution must be positive: {config:?}");
    }
    if let Some(bias) = bias
        && bias.dims1()? != outputs
    {
        let shape = bias.shape();
        bail!("a bias of {outputs} outputs has the shape {shape:?}");
    }
    Ok((outputs, inputs * config.groups))
}

/// A tensor's memory as maps.
fn maps<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Maps<'a>> {
    let (images, channels, height, width) = layout.shape().dims4()?;
    let &[image, channel, row, column] = layout.stride() else {
        bail!("maps have four dimensions, not {:?}", layout.shape());
    };
    if storage.dtype() != DType::F32 {
        bail!(
            "a convolution of F32 was given maps of {:?}",
            storage.dtype()
        );
    }
    Ok(Maps {
        values: &storage.as_slice::<f32>()?[layout.start_offset()..],
        images,
        channels,
        size: [height, width],
        strides: [image, channel, row, column],
    })
}

impl CustomOp1 for Conv2d {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.direct(&[(storage, layout)], None)
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "convolution of two"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.direct(&[(first, first_layout), (second, second_layout)], None)
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "convolution of two onto a third"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
        base: &CpuStorage,
        base_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let parts = [(first, first_layout), (second, second_layout)];
        self.direct(&parts, Some((base, base_layout)))
    }
}

#[cfg(test)]
mod tests;
