//! `nova.objects.console_auth_token`: the right to open one console.

object! {
    /// A token, and where what it opens is. Version 1.2 has all that is needed here, and every release reads it.
    ConsoleAuthToken = "ConsoleAuthToken" "1.2" {
        text token;
        text console_type, set_console_type;
        text host, set_host;
        int port, set_port;
        text internal_access_path, set_internal_access_path;
        text instance_uuid, set_instance_uuid;
        text access_url_base, set_access_url_base;
    }
}
