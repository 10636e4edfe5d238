/* Files into the shared box and out of it. */
#include "driver.h"

#include <stdlib.h>

static void copy(bool in)
{
    boxlite_copy_options *options;
    MUST(boxlite_copy_options_new(&options, &error));
    MUST(boxlite_copy_options_set_overwrite(options, (int32_t)number("overwrite", 1), &error));
    (void)succeeded("error", in ? boxlite_box_copy_in(box, field("host"), field("box"), options, NULL, &error)
                                : boxlite_box_copy_out(box, field("box"), field("host"), options, NULL, &error));
    boxlite_copy_options_free(options);
}

void copy_in(void)
{
    copy(true);
}

void copy_out(void)
{
    copy(false);
}

void read_box_file(void)
{
    boxlite_bytes *bytes;
    if (succeeded("error", boxlite_box_read_file(box, field("box"), number("max", 1 << 20), NULL, &bytes, &error))) {
        write_file(field("out"), boxlite_bytes_data(bytes), boxlite_bytes_len(bytes));
    }
    boxlite_bytes_free(bytes);
}

void write_box_file(void)
{
    size_t len;
    char *data = input(&len);
    (void)succeeded("error", boxlite_box_write_file(box, field("box"), data, len, BOXLITE_MODE_DEFAULT, NULL, &error));
    free(data);
}
