// The start of a box of its own, of `image`, which may be cancelled during its pull.
#include "driver.hpp"

#include <optional>

namespace conformance {

void driver::start(const request &r, answer &a)
{
    std::optional<boxlite::box> other;
    if (!a.attempt("create", [&] { other = runtime_.create(options(r.text("image"))); })) {
        return;
    }
    boxlite::call call;
    if (r.has("cancel")) {
        call.on_progress([&](const boxlite::progress &progress) {
            for (std::size_t layer = 0; progress.stage() == "pull" && layer < progress.layers(); layer++) {
                if (progress.done_bytes(layer) > 0) {
                    return false;
                }
            }
            return true;
        });
    }
    a.attempt("error", [&] { other->start(&call); });
    a.text("status", boxlite::status_name(other->info().status));
    a.attempt("remove", [&] { runtime_.remove(other->id(), true); });
}

} // namespace conformance
