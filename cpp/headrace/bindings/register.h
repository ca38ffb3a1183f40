// One register function per file of this folder. Bindings hold no logic: they check arguments, let go of the interpreter lock, and
// turn values into Python's.
#pragma once

#include <pybind11/pybind11.h>

namespace headrace::bindings {

void register_format(pybind11::module_& m);
void register_writer(pybind11::module_& m);
void register_abandoned(pybind11::module_& m);
void register_decode(pybind11::module_& m);
void register_image(pybind11::module_& m);
void register_field_plan(pybind11::module_& m);
void register_dataset(pybind11::module_& m);
void register_batch(pybind11::module_& m);
void register_limits(pybind11::module_& m);
void register_memory(pybind11::module_& m);
void register_moments(pybind11::module_& m);
void register_sketches(pybind11::module_& m);
void register_pipeline(pybind11::module_& m);
void register_token_batches(pybind11::module_& m);
void register_weights(pybind11::module_& m);
void register_process(pybind11::module_& m);
void register_storage(pybind11::module_& m);

}  // namespace headrace::bindings
