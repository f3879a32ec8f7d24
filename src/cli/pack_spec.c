/* Reading the parts of a packed job. Consumes a JSON file, produces an owner's options;
 * opens none of what they name. */
#include "cli/pack_spec.h"

#include <string.h>

#include "cli/data_options.h"

typedef struct {
    const char *name;
    const char **text; /* a string goes here … */
    bool *flag;        /* … true or false here … */
    int64_t *number;   /* … a number from 1 on here */
    bool required;
} member;

enum { MAX_SEQ = 1 << 20 };

static const member *find_member(const member *list, const char *name)
{
    while (list->name && strcmp(list->name, name) != 0) list++;
    return list->name ? list : NULL;
}

static amg_status read_member(const amg_json_node *node, const member *m,
                              amg_error *err)
{
    if (m->text) return amg_json_string(node, m->text, err);
    if (m->number) return amg_json_int(node, 1, MAX_SEQ, m->number, err);
    if (!json_is_boolean(node->value))
        return amg_json_fail(node, err, AMG_MALFORMED, "expected true or false");
    *m->flag = json_is_true(node->value);
    return AMG_OK;
}

static amg_status unknown_member(const amg_json_node *node, const member *list,
                                 amg_error *err)
{
    char names[256] = "";
    for (const member *m = list; m->name; m++) {
        strcat(names, m == list ? "" : ", ");
        strcat(names, m->name);
    }
    const amg_status st = amg_json_fail(node, err, AMG_MALFORMED, "no such option");
    amg_hint(err, "there are %s", names);
    return st;
}

static amg_status read_members(const amg_json_node *root, const member *list,
                               amg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(root->value, key, value)
    {
        const amg_json_node node = amg_json_member(root, key);
        const member *m = find_member(list, key);
        const amg_status st =
            m ? read_member(&node, m, err) : unknown_member(&node, list, err);
        if (st) return st;
    }
    for (const member *m = list; m->name; m++)
        if (m->required && !*m->text)
            return amg_json_fail(root, err, AMG_MALFORMED, "lacks \"%s\"", m->name);
    return AMG_OK;
}

/* The task's own name, or one of the command line's short ones. */
static amg_status find_task(const char *path, const char *name,
                            amg_obfuscate_options *o, amg_error *err)
{
    o->task_by_data = !name;
    if (!name || amg_task_find_name(name, &o->task)) return AMG_OK;
    for (int i = 0; cli_tasks[i]; i++)
        if (!strcmp(cli_tasks[i], name) && cli_task_find(i, &o->task)) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, path, "task: there is no \"%.40s\"", name);
}

amg_status cli_pack_spec_read(const char *path, cli_pack_spec *out, amg_error *err)
{
    amg_obfuscate_options *o = &out->options;
    const char *task = NULL, *normalize = NULL;
    const member list[] = {{"model", &o->model, .required = true},
                           {"train", &o->train, .required = true},
                           {"key", &o->key, .required = true},
                           {"val", &o->val},
                           {"task", &task},
                           {"seq", .number = &o->window.seq},
                           {"normalize", &normalize},
                           {"loss", &o->loss.loss},
                           {"class_weights", &o->loss.class_weights},
                           {"freeze", &out->freeze},
                           {"freeze_norm_stats", .flag = &o->freeze_norm_stats},
                           {"keep_classes", .flag = &o->keep_classes},
                           {"keep_tokens", .flag = &o->keep_tokens},
                           {"symmetry", .flag = &o->symmetry},
                           {"seed_hex", &o->seed_hex},
                           {NULL}};
    amg_status st = amg_map_open(path, &out->map, err);
    if (!st)
        st = amg_json_parse((const char *)out->map.data, out->map.size, 0, path,
                            &out->doc, err);
    if (!st) {
        const amg_json_node root = amg_json_root(&out->doc);
        st = read_members(&root, list, err);
    }
    o->freeze = &out->freeze;
    o->num_freeze = out->freeze != NULL;
    if (!st && o->freeze_norm_stats && !out->freeze)
        st = amg_fail(err, AMG_INVALID, -1, path, "freeze_norm_stats needs freeze");
    if (!st) st = find_task(path, task, o, err);
    return st ? st : cli_parse_normalize(normalize, &o->preprocess, err);
}

void cli_pack_spec_clear(cli_pack_spec *spec)
{
    amg_json_clear(&spec->doc);
    amg_map_close(&spec->map);
    *spec = (cli_pack_spec){0};
}
