#include "headrace/bindings/register.h"

PYBIND11_MODULE(_ext, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The C++ core of headrace; see _ext.pyi.";
  headrace::bindings::register_format(m);
  headrace::bindings::register_writer(m);
  headrace::bindings::register_abandoned(m);
  headrace::bindings::register_dataset(m);
  headrace::bindings::register_decode(m);
  headrace::bindings::register_image(m);
  headrace::bindings::register_field_plan(m);
  headrace::bindings::register_memory(m);
  headrace::bindings::register_limits(m);
  headrace::bindings::register_batch(m);
  headrace::bindings::register_weights(m);
  headrace::bindings::register_token_batches(m);
  headrace::bindings::register_moments(m);
  headrace::bindings::register_sketches(m);
  headrace::bindings::register_pipeline(m);
  headrace::bindings::register_process(m);
  headrace::bindings::register_storage(m);
}
