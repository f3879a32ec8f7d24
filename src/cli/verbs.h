/* One function per verb: argv[0] is the verb, the result is the exit code. */
#ifndef AMG_CLI_VERBS_H
#define AMG_CLI_VERBS_H

int verb_zoo(int argc, char **argv);
int verb_obfuscate(int argc, char **argv);
int verb_train(int argc, char **argv);     /* amalgam train: a job or a plain model */
int verb_train_job(int argc, char **argv); /* amalgam-train: a job */
int verb_extract(int argc, char **argv);
int verb_eval(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_pack(int argc, char **argv);
int verb_split(int argc, char **argv);
int verb_generate(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_audit(int argc, char **argv);
int verb_demo(int argc, char **argv);

#endif
