/* One line at a time on stderr, for EMBEDDED_LOG=error|warning|info|debug (warning when not set; "none" for silence). */
#ifndef EB_LOG_H
#define EB_LOG_H

enum eb_level { EB_LOG_NONE, EB_LOG_ERROR, EB_LOG_WARNING, EB_LOG_INFO, EB_LOG_DEBUG };

int eb_log_enabled(enum eb_level level);
void eb_log(enum eb_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define eb_log_error(...) eb_log(EB_LOG_ERROR, __VA_ARGS__)
#define eb_log_warning(...) eb_log(EB_LOG_WARNING, __VA_ARGS__)
#define eb_log_info(...) eb_log(EB_LOG_INFO, __VA_ARGS__)
#define eb_log_debug(...) eb_log(EB_LOG_DEBUG, __VA_ARGS__)

#endif
